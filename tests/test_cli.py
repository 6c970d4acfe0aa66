"""The command line: its verbs, their documentation, and what a user sees when something is wrong.

`cli_surface.txt` lists every verb and option. A change there is a change for every user's scripts: make it on purpose,
name it in README.md, and write the file again with `python -m tests.test_cli > tests/cli_surface.txt`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from cluster.storage import ENVIRONMENT_VARIABLE
from jobs.cli import app
from tests.conftest import REPOSITORY

QUICKSTART = "configs/quickstart.yaml"
SURFACE = Path(__file__).with_name("cli_surface.txt")
SHAPE = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 128, "vocab_size": 512, "tie_word_embeddings": True,
}  # fmt: skip


def commands(command: Any, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every verb, as the words after `raysmith`."""
    children = getattr(command, "commands", None)
    if children is None:
        return {words: command}
    return {verb: one for name, child in children.items() for verb, one in commands(child, (*words, name)).items()}


VERBS = commands(typer.main.get_command(app))


def surface() -> str:
    """One line a verb: arguments and options, in their order."""
    lines = []
    for verb, command in VERBS.items():
        options = ("/".join(one.opts) if one.param_type_name == "option" else one.metavar for one in command.params)
        lines.append(" ".join(("raysmith", *verb, *options)) + "\n")
    return "".join(sorted(lines))


def raysmith(*arguments: str, storage: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in the checkout, as a user does."""
    if storage is not None:
        environment[ENVIRONMENT_VARIABLE] = str(storage)
    return subprocess.run(
        [str(Path(sys.executable).with_name("raysmith")), *arguments],
        cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """All of a model that a plan looks at: its dimensions."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SHAPE))
    (folder / "model.safetensors").touch()
    return folder


def test_the_surface_changes_only_on_purpose() -> None:
    assert surface() == SURFACE.read_text(), f"see the text at the top of {Path(__file__).name}"


@pytest.mark.parametrize("verb", [(), ("config",), *VERBS], ids=" ".join)
def test_every_verb_explains_itself(verb: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*verb, "--help"])
    assert shown.exit_code == 0
    assert f"Usage: {' '.join(['root', *verb])}" in shown.output
    for name in VERBS[verb].params if verb in VERBS else ():
        assert (name.metavar or name.opts[-1]) in shown.output
        assert name.help


def test_the_readme_names_every_verb_and_no_other() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    groups = {verb[0] for verb in VERBS if len(verb) == 2}
    words = rf"`raysmith ((?:(?:{'|'.join(groups)}) )?[a-z][a-z-]*)"
    documented = {tuple(found.split()) for found in re.findall(words, readme)}
    assert documented == set(VERBS)


def test_the_readme_uses_only_options_that_exist() -> None:
    options = {option for command in VERBS.values() for one in command.params for option in one.opts}
    lines = [line for line in (REPOSITORY / "README.md").read_text().splitlines() if "raysmith " in line]
    used = {option for line in lines for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)}
    assert used <= options | {"--help"}


def test_help_loads_no_heavy_library_from_either_entry_point() -> None:
    code = (
        "import sys; sys.argv = ['raysmith', '--help']; from jobs.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'ray', 'transformers', 'deepspeed', 'pyarrow', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    module = [sys.executable, "-m", "jobs", "ls", "--help"]
    for shown in (raysmith("ls", "--help"), subprocess.run(module, cwd=REPOSITORY, capture_output=True, text=True)):
        assert shown.returncode == 0
        assert "List the published artifacts." in shown.stdout


def test_a_typo_costs_a_second_and_names_what_was_meant(tmp_path: Path) -> None:
    for verb in ("run", "plan", "submit"):
        done = raysmith(verb, QUICKSTART, "train.learnig_rate=1", storage=tmp_path / "storage")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("ConfigError: Unknown key `train.learnig_rate`.")
        assert "train.learnig_rate (command line)" in done.stderr
        assert "did you mean `train.learning_rate`?" in done.stderr
    assert not (tmp_path / "storage").exists()


def test_a_wrong_call_ends_with_2_and_a_missing_file_is_named() -> None:
    assert raysmith("pln").returncode == 2
    assert raysmith("plan").returncode == 2
    done = raysmith("plan", "configs/nowhere.yaml")
    assert (done.returncode, "configs/nowhere.yaml" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def tokens_of(words: str) -> int:
    """The tokens that a plan names for the training data."""
    found = re.search(r"about ([\d,]+) tokens", words)
    assert found
    return int(found[1].replace(",", ""))


def test_a_plan_shows_batch_memory_and_disk_and_allocates_nothing(model_folder: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    train = ("train.steps=30", "train.batch={sequences: 8, micro: 2}", "train.adapter.lora.rank=16")
    model = ("model.package=null", f"model.path={model_folder}", "cluster.num_cpus=2", "cluster.workers=2")
    done = raysmith("plan", QUICKSTART, *train, *model, "train.deepspeed.stage=2", storage=storage)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "model → data → evaluate before → train → merge → evaluate after → quantize → serve" in words
    # 2 layers of 64·64·2 + 64·32·2 + 3·64·128 + 2·64, one embedding of 512·64 and the last norm
    assert "model 0.1M parameters, 2 layers of width 64" in words
    assert "8 sequences a step, shared by 2 workers × 2 accumulation × 2 sequences" in words
    samples = len((REPOSITORY / "data/support/train.jsonl").read_text().splitlines())
    assert f"30 steps = {tokens_of(words) / samples * 240 / 1e6:.3g}M tokens, {240 / samples:.2g} epochs" in words
    parts = re.findall(r"(\w+) ([\d.]+ (?:B|kB|MB|GB))", words.split("memory of a worker, ZeRO-2")[1])
    names = [name for name, _ in parts[:9]]
    order = "runtime weights gradients optimizer buffers activations logits checkpoint total"
    assert names == order.split()
    adapter = 2 * 16 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128))
    assert dict(parts)["weights"] == f"{2 * (2 * (12_288 + 24_576 + 128) + 32_768 + 64 + adapter) / 1e3:.1f} kB"
    assert "Nothing was allocated" in words
    assert not storage.exists()


def test_a_plan_that_does_not_fit_says_what_to_change(model_folder: Path, tmp_path: Path) -> None:
    more = (
        "model.package=null",
        f"model.path={model_folder}",
        "cluster.num_cpus=2",
        "cluster.workers=64",
        "train.batch.sequences=64",
    )
    done = raysmith("plan", QUICKSTART, *more, storage=tmp_path)
    assert done.returncode == 1
    assert "ResourceError: The cluster can never hold the training workers: too few CPUs." in done.stderr
    assert "64 CPUs" in done.stderr


def test_expand_prints_a_configuration_that_loads_again(tmp_path: Path) -> None:
    expanded = raysmith("config", "expand", QUICKSTART, "train.steps=7")
    (tmp_path / "whole.yaml").write_text(expanded.stdout)
    again = raysmith("config", "expand", str(tmp_path / "whole.yaml"))
    assert again.stdout == expanded.stdout
    assert "  steps: 7\n" in expanded.stdout
    shipped = re.findall(r"^  steps: (\d+)$", (REPOSITORY / QUICKSTART).read_text(), re.MULTILINE)[0]
    compared = raysmith("config", "compare", QUICKSTART, str(tmp_path / "whole.yaml")).stdout.splitlines()
    assert [line.split() for line in compared[1:]] == [["train.steps", shipped, "7"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(number: signal.Signals, model_folder: Path, tmp_path: Path) -> None:
    pipe = model_folder / "vocab.json"
    os.mkfifo(pipe)  # the run waits here for a file of its model
    more = ["model.package=null", f"model.path={model_folder}", f"storage.root={tmp_path}"]
    command = [str(Path(sys.executable).with_name("raysmith")), "run", QUICKSTART, *more]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pipe.open("w"):
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "Stopped. Run the same command to go on from the last checkpoint."


if __name__ == "__main__":
    sys.stdout.write(surface())
