"""Plug-ins: a file in a folder is a kind; switching the kind replaces its keys, refining keeps them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from cluster.config import Config, FromFolder, PluginConfig
from cluster.config_file import load_config
from cluster.errors import ConfigError

PLUGIN = """\
from typing import Literal
from cluster.config import PluginConfig
class Config(PluginConfig):
    kind: Literal["{kind}"] = "{kind}"
    {key}: int = 1
"""


@pytest.fixture
def config_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Config]]:
    """A config with a `method` from a folder that holds `alpha.py`, `beta.py` and a private file."""
    folder = tmp_path / "raysmith_test_methods"
    folder.mkdir()
    for kind, key in (("alpha", "width"), ("beta", "depth"), ("_private", "none")):
        (folder / f"{kind}.py").write_text(PLUGIN.format(kind=kind, key=key))
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    class Holder(Config):
        method: Annotated[PluginConfig, FromFolder(folder.name)]

    yield Holder
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def load(config_class: type[Config], text: str, *overrides: str) -> dict[str, Any]:
    Path("job.yaml").write_text(text)
    method: dict[str, Any] = load_config(config_class, Path("job.yaml"), list(overrides)).model_dump()["method"]
    return method


def test_a_kind_may_be_a_name_or_a_mapping(config_class: type[Config]) -> None:
    assert load(config_class, "method: alpha") == {"kind": "alpha", "width": 1}
    assert load(config_class, "method: {kind: beta, depth: 2}") == {"kind": "beta", "depth": 2}


def test_a_dotted_key_refines_a_kind_given_by_name(config_class: type[Config]) -> None:
    assert load(config_class, "method: alpha", "method.width=5") == {"kind": "alpha", "width": 5}
    assert load(config_class, "method: alpha", "method.kind=alpha", "method.width=5") == {"kind": "alpha", "width": 5}


def test_another_kind_replaces_the_inherited_keys(config_class: type[Config]) -> None:
    Path("base.yaml").write_text("method: {kind: alpha, width: 7}\n")
    assert load(config_class, "defaults: base.yaml\nmethod: {kind: beta}") == {"kind": "beta", "depth": 1}
    assert load(config_class, "defaults: base.yaml\nmethod: beta") == {"kind": "beta", "depth": 1}
    assert load(config_class, "defaults: base.yaml", "method.kind=beta") == {"kind": "beta", "depth": 1}
    assert load(config_class, "defaults: base.yaml\nmethod: {kind: alpha}") == {"kind": "alpha", "width": 7}


def test_problems_inside_a_plugin_are_named_with_their_place(config_class: type[Config]) -> None:
    with pytest.raises(ConfigError, match=r"method\.widht \(job\.yaml:3\)[\s\S]*did you mean `method\.width`"):
        load(config_class, "method:\n  kind: alpha\n  widht: 3\n")
    with pytest.raises(ConfigError, match=r"method\.width \(job\.yaml:3\)[\s\S]*got: +'wide'"):
        load(config_class, "method:\n  kind: alpha\n  width: wide\n")


@pytest.mark.parametrize("kind", ["gamma", "_private", "__init__", "alpha.py", "../alpha", "os"])
def test_only_public_files_of_the_folder_are_kinds(config_class: type[Config], kind: str) -> None:
    with pytest.raises(ConfigError, match="one of alpha, beta"):
        load(config_class, f"method: {kind}")


def test_a_plugin_must_be_chosen(config_class: type[Config]) -> None:
    with pytest.raises(ConfigError, match=r"kind is missing[\s\S]*method\.kind[\s\S]*one of alpha, beta"):
        load(config_class, "method: {width: 3}")


def test_schema_lists_the_kinds_and_their_keys(config_class: type[Config]) -> None:
    options = config_class.model_json_schema()["properties"]["method"]["anyOf"]
    assert options[0]["enum"] == ["alpha", "beta"]
    assert [sorted(option["properties"]) for option in options[1:]] == [["kind", "width"], ["depth", "kind"]]
