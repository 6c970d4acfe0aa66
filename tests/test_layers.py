"""The four packages are this checkout's, imports go one way, and a plug-in is found by its file's name."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.quantize import quantizer_of
from tests.conftest import REPOSITORY
from tests.job_file import JOB, load
from trainers.objectives import module_of

PACKAGES = ("cluster", "trainers", "serving", "jobs")
PLUGIN = """\
from typing import Literal
from {base_module} import {base} as Base
class Config(Base):
    kind: Literal["brand_new"] = "brand_new"
    strength: int = 3
FORMATS, HEAD = ("chat",), "causal_lm"
"""


def test_the_four_names_are_this_checkouts_from_any_folder(tmp_path: Path) -> None:
    code = (
        "import importlib, json, sys\n"
        "print(json.dumps([importlib.import_module(name).__file__ for name in sys.argv[1:]]))"
    )
    for folder in (tmp_path, REPOSITORY):
        done = subprocess.run(
            [sys.executable, "-c", code, *PACKAGES], cwd=folder, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == [str(REPOSITORY / name / "__init__.py") for name in PACKAGES]


def lint_imports(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]
    return subprocess.run([*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True)


def test_imports_keep_the_contracts() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert ["jobs", "trainers | serving", "cluster"] in [contract.get("layers") for contract in contracts]
    done = lint_imports()
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout


def test_the_checker_would_notice_an_import_that_goes_up(tmp_path: Path) -> None:
    # The same checker on a contract that this code breaks: jobs imports cluster.
    contract = tmp_path / "upside-down.toml"
    contract.write_text(
        f"[tool.importlinter]\nroot_packages = {json.dumps(PACKAGES)}\n"
        '[[tool.importlinter.contracts]]\nname = "upside down"\ntype = "layers"\nlayers = ["cluster", "jobs"]\n'
    )
    done = lint_imports("--config", str(contract))
    assert done.returncode == 1
    assert "jobs.cli -> cluster." in done.stdout


KEYS = {
    "trainers.objectives": "train.objective",
    "serving.quantizers": "quantize.methods",
    "serving.engines": "serve.engine",
}


BASES = {
    "serving.quantizers": ("serving.quantize", "QuantizerConfig"),
    "serving.engines": ("serving.protocol", "EngineConfig"),
}


@pytest.fixture(params=KEYS)
def package(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A plug-in package into which a file `brand_new.py` was put."""
    name: str = request.param
    base = BASES.get(name, ("cluster.config", "PluginConfig"))
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "brand_new.py").write_text(PLUGIN.format(base_module=base[0], base=base[1]))
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path / "plugins")])
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(f"{name}.brand_new", None)
    vars(module).pop("brand_new", None)


def test_a_new_file_is_a_new_kind_with_nothing_to_register(package: str) -> None:
    key = KEYS[package]
    served = "serve: {}\n" if package != "serving.quantizers" else ""  # the new method's form is none of llama.cpp's
    job = load(JOB + "quantize: {}\n" + served, f"{key}=brand_new", f"{key}.strength=7")
    section, field = key.split(".")
    chosen = getattr(getattr(job, section), field)
    chosen = chosen[0] if isinstance(chosen, list) else chosen
    assert (chosen.kind, chosen.strength) == ("brand_new", 7)
    assert type(chosen).__module__ == f"{package}.brand_new"
    assert load(json.dumps(job.resolved())) == job
    finders = {"trainers.objectives": module_of, "serving.quantizers": quantizer_of}
    if package in finders:
        assert finders[package](chosen).__name__ == f"{package}.brand_new"  # type: ignore[attr-defined]
