"""What is submitted: any of the files that local verbs take, with all that it names, as one thing to send or to keep.

| the file has | it is | and runs as |
| --- | --- | --- |
| `chain:` | a chain (jobs/chain.py) | `raysmith run` |
| `space:` | a sweep (jobs/sweep) | `raysmith sweep` |
| `model:` with a name | an endpoint (jobs/endpoints) | `raysmith serve` |
| anything else | a job (jobs/config.py) | `raysmith run`, or `quantize` if asked |
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cluster.config import Config, digest
from cluster.config_file import Tree, read_tree
from cluster.errors import ConfigError
from jobs.config import JobConfig, load_job
from jobs.paths import absolute, replace_paths
from jobs.plan import read_data
from trainers.models import locate

Verb = Literal["run", "quantize", "sweep", "serve"]
Place = Callable[[str, Path], str]
"""Gives, for a key and the file or folder that it names, what is to be written in its stead."""
ENTRY = "job.yaml"


class Parcel(NamedTuple):
    """Something to submit."""

    verb: Verb
    name: str
    options: tuple[str, ...]
    """Of the verb, where it runs."""
    root: Path
    """storage.root, absolute."""
    render: Callable[[Place], dict[str, Tree]]
    """The YAML files to send, by name, `ENTRY` among them, with what `Place` gives for each path."""
    check: Callable[[], None]
    """Refuses what the verb would refuse, as far as that can be seen from here."""

    @property
    def folder(self) -> Path:
        """Where what it does is kept, on the cluster."""
        return self.root / ("endpoints" if self.verb == "serve" else "runs") / self.name

    def files(self) -> dict[str, Tree]:
        """The YAML files with absolute paths of this machine."""
        return self.render(lambda _, path: str(absolute(path)))

    def content(self) -> str:
        """The same for two parcels that ask for the same; whether they begin anew or go on makes no difference."""
        return digest([self.verb, list(self.going_on().options), self.files()])[:16]

    def entrypoint(self) -> str:
        """The command on the cluster. `exec`: a signal must reach Python, not a shell around it."""
        words = ["exec", "python", "-m", "jobs", self.verb, ENTRY, *self.options]
        command = shlex.join(words)
        if self.verb == "sweep" and not {"--fresh", "--resume"} & set(self.options):
            # Only there can be seen whether the sweep had begun.
            record = shlex.quote(str(self.folder / "sweep.json"))
            command += f" $([ -f {record} ] && echo --resume)"
        return command

    def going_on(self) -> Parcel:
        """The same, for a job that had begun: nothing is done afresh again."""
        return self._replace(options=tuple(one for one in self.options if one not in ("--fresh", "--resume")))


def load_parcel(
    path: Path, overrides: Sequence[str] = (), *, verb: Verb | None = None, winner: str | None = None,
    options: Sequence[str] = (), storage: Path | None = None, priority: int | None = None,
) -> Parcel:  # fmt: skip
    """Read a job, chain, sweep or endpoint.

    Args:
        verb: what it is to run as; default: what the file is.
        winner: see `load_job`.
        storage: `storage.root`, where the file sets none.
        priority: `cluster.priority`.

    Raises:
        RaysmithError: the file is not valid, or no option of that verb was given.
    """
    tree = read_tree(path).tree
    is_chain = "chain" in tree
    found: Verb = "sweep" if "space" in tree else "serve" if isinstance(tree.get("model"), str) else "run"
    verb = verb or found
    given = list(overrides)
    prefix = "set." if verb == "sweep" else ""
    if storage is not None and not _sets_storage(path, tree, given, prefix):
        given.insert(0, f"{prefix}storage.root={storage}")
    if priority is not None:
        given.append(f"{prefix}cluster.priority={priority}")
    _refuse_foreign_options(verb, options, winner, is_chain=is_chain)
    if verb == "sweep":
        return _sweep(path, given, options)
    if verb == "serve":
        return _endpoint(path, given)
    if is_chain:
        return _chain(path, given, options)
    return _job(load_job(path, given, winner), verb, options)


def _sets_storage(path: Path, tree: Tree, overrides: list[str], prefix: str) -> bool:
    if any(one.startswith(f"{prefix}storage.root=") for one in overrides):
        return True
    trees = [tree, tree.get("set") or {}]
    if prefix and isinstance(tree.get("job"), str):
        trees.append(read_tree(path.resolve().parent / tree["job"]).tree)
    trees += [read_tree(path.parent / str(file)).tree for file in (tree.get("chain") or {}).values()]
    return any("root" in (one.get("storage") or {}) for one in trees)


_OPTIONS = {
    "run": {"--keep-serving", "--fresh"},
    "quantize": {"--fresh"},
    "sweep": {"--fresh", "--resume"},
    "serve": set[str](),
}


def _refuse_foreign_options(verb: Verb, options: Sequence[str], winner: str | None, *, is_chain: bool) -> None:
    given = [*options, *(["--winner"] if winner is not None else [])]
    known = _OPTIONS[verb] | ({"--winner"} if verb in ("run", "quantize") and not is_chain else set())
    if foreign := [one for one in given if one not in known]:
        raise ConfigError(
            "That option is none of what is submitted.", field=foreign[0], got=f"a {'chain' if is_chain else verb}",
            expected=", ".join(sorted(known)) or "none", fix="leave it out",
        )  # fmt: skip


def _job(job: JobConfig, verb: Verb, options: Sequence[str]) -> Parcel:
    if verb == "quantize" and job.quantize is None:
        raise ConfigError("The job has no `quantize` section.", field="quantize", expected="quantize: {methods: …}")
    root = absolute(job.storage.root)
    return Parcel(
        verb, job.name, tuple(options), root, lambda place: {ENTRY: _placed(job, root, place)},
        lambda: _check(job, root),
    )  # fmt: skip


def _chain(path: Path, overrides: list[str], options: Sequence[str]) -> Parcel:
    from jobs.chain import load_chain

    links = load_chain(path, overrides)
    roots = {absolute(link.job.storage.root) for link in links}
    if len(roots) > 1:
        raise ConfigError(
            "The links of a chain keep what they publish in different places.", field="storage.root",
            got=", ".join(sorted(map(str, roots))), expected="one storage.root for all", fix="storage.root=FOLDER",
        )  # fmt: skip
    root = roots.pop()
    name = str(read_tree(path).tree["name"])

    def render(place: Place) -> dict[str, Tree]:
        files: dict[str, Tree] = {}
        for link in links:

            def place_of_link(key: str, file: Path, link_name: str = link.name) -> str:
                return place(f"{link_name}.{key}", file)

            files[f"link-{link.name}.yaml"] = _placed(link.job, root, place_of_link)
        return {ENTRY: {"name": name, "chain": {link.name: f"link-{link.name}.yaml" for link in links}}, **files}

    def check() -> None:
        for link in links:
            _check(link.planned, root)

    return Parcel("run", name, tuple(options), root, render, check)


def _sweep(path: Path, overrides: list[str], options: Sequence[str]) -> Parcel:
    from jobs.sweep.space import load_sweep

    sweep = load_sweep(path, overrides)
    sample = sweep.sample
    root = absolute(sample.storage.root)
    varied = {key for one in sweep.config.space.values() for entry in one.together or [] for key in entry}
    varied |= set(sweep.config.space)

    def render(place: Place) -> dict[str, Tree]:
        values: dict[str, str] = {}

        def note(key: str, file: Path) -> str:
            if key in varied and not absolute(file).is_relative_to(root):
                raise ConfigError(
                    "A path that differs between trials cannot be sent along.", field=key, got=str(file),
                    expected="files under storage.root, which every node sees",
                )  # fmt: skip
            values[key] = place(key, file)
            return values[key]

        placed = replace_paths(sample, note)
        tree = _copied(sweep.job.tree)
        for key in values.keys() - varied:
            _set(tree, key, _get(placed, key))
        _set(tree, "storage.root", str(root))
        config = sweep.config.model_dump(mode="json") | {"job": f"sweep-{ENTRY}", "set": {}}
        return {ENTRY: config, f"sweep-{ENTRY}": tree}

    return Parcel("sweep", sweep.config.name, tuple(options), root, render, lambda: _check(sample, root))


def _endpoint(path: Path, overrides: list[str]) -> Parcel:
    from jobs.endpoints.config import load_endpoint

    endpoint = load_endpoint(path, overrides)
    root = absolute(endpoint.storage.root)
    return Parcel(
        "serve", endpoint.name, (), root, lambda place: {ENTRY: _placed(endpoint, root, place)}, lambda: None
    )  # fmt: skip


def _placed(config: Config, root: Path, place: Place) -> Tree:
    plain = replace_paths(config, place)
    plain["storage"]["root"] = str(root)
    return plain


def _check(job: JobConfig, root: Path) -> None:
    """Refuse what `run` would refuse; files that only the cluster sees are left to it."""
    read_data(job)
    if job.model.path is not None and not absolute(job.model.path).is_relative_to(root):
        locate(job.model)


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(one) for one in tree] if isinstance(tree, list) else tree


def _get(tree: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


def _set(tree: Any, dotted: str, value: Any) -> None:
    """Set a dotted key; parts that are numbers index lists that are there."""
    *parts, last = dotted.split(".")
    for part in parts:
        tree = tree[int(part)] if isinstance(tree, list) else tree.setdefault(part, {})
    if isinstance(tree, list):
        tree[int(last)] = value
    else:
        tree[last] = value
