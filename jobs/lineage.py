"""Look at artifacts: list, trace back to the data, compare, verify."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from cluster.artifacts import ArtifactStore, FileRecord, Manifest, compare_manifests
from cluster.errors import ArtifactError
from jobs.words import size


def refuse_unmerge(store: ArtifactStore, merged: Manifest) -> None:
    """Say why a merged model is not taken apart, and what to use instead.

    Raises:
        ArtifactError: always.
    """
    if "adapter" not in merged.parents:
        raise ArtifactError(
            "No adapter was merged into that model.", field="NAME", got=f"{merged.name}  ({merged.id})",
            expected="a model that a run merged an adapter into",
        )  # fmt: skip
    base, adapter = (store.get(merged.parents[role]) for role in ("base", "adapter"))
    raise ArtifactError(
        "A merged model cannot be taken apart: the sum of weights and update was rounded, and what it lost is gone.",
        field="NAME", got=f"{merged.name}  ({merged.id})", expected="its two parts, which are kept whole",
        fix=f"use the base {base.name} ({base.id}) and the adapter {adapter.name} ({adapter.id}): "
        "`raysmith trace` shows them",
    )  # fmt: skip


def ancestors(store: ArtifactStore, manifest: Manifest) -> list[Manifest]:
    """Everything an artifact was made from, nearest first, each once."""
    found: dict[str, Manifest] = {}
    queue = list(manifest.parents.values())
    while queue:
        parent = store.get(queue.pop(0))
        if parent.id not in found:
            found[parent.id] = parent
            queue += parent.parents.values()
    return list(found.values())


def trace_tree(store: ArtifactStore, manifest: Manifest) -> Tree:
    """The tree from an artifact back to its data and base model; what was shown above is not unfolded again."""
    shown: set[str] = set()

    def grow(node: Tree, manifest: Manifest) -> Tree:
        if manifest.id in shown:
            node.add("[dim]as above[/]")
            return node
        shown.add(manifest.id)
        for role, parent_id in manifest.parents.items():
            parent = store.get(parent_id)
            grow(node.add(_label(parent, role)), parent)
        if manifest.source:
            origin = ", ".join(f"{key} {value}" for key, value in manifest.source.items())
            node.add(f"[dim]from {escape(origin)}[/]")
        return node

    return grow(Tree(_label(manifest), highlight=False), manifest)


def _label(manifest: Manifest, role: str = "") -> str:
    prefix = f"{role}: " if role else ""
    figures = ", ".join(f"{key} {value:.4g}" for key, value in manifest.metrics.items())
    detail = f"sha256 {manifest.content[:16]}…, {size(manifest.size_bytes)}, {manifest.created}"
    return f"{prefix}[bold]{manifest.name}[/] ({manifest.id}) [dim]{detail}{', ' + figures if figures else ''}[/]"


def list_table(store: ArtifactStore) -> Table:
    """All names: what each means, its size, when and from what it was made."""
    table = Table(box=None, header_style="bold")
    for column in ("name", "id", "size", "created"):
        table.add_column(column, no_wrap=True)
    table.add_column("made from")  # in a narrow terminal this one gives way
    for name, artifact_id in store.names().items():
        try:
            manifest = store.get(artifact_id)
        except ArtifactError as error:  # one that was removed or damaged must not hide the others
            table.add_row(name, artifact_id, "—", "—", escape(error.message))
            continue
        made_from = ", ".join(manifest.parents.values()) or ", ".join(manifest.source.values())
        when = manifest.created[:16].replace("T", " ")
        table.add_row(name, manifest.id, size(manifest.size_bytes), when, escape(made_from))
    return table


def diff_table(a: Manifest, b: Manifest) -> Table:
    """What differs between two artifacts."""
    table = Table(box=None, header_style="bold")
    for column in ("what", f"{a.name} ({a.id})", f"{b.name} ({b.id})"):
        table.add_column(column, overflow="fold")
    for key, (one, two) in compare_manifests(a, b).items():
        table.add_row(key, _short(one), _short(two))
    return table


def _short(value: object) -> str:
    if isinstance(value, FileRecord):
        return f"sha256 {value.sha256[:16]}…, {size(value.size_bytes)}"
    return "—" if value is None else escape(str(value))
