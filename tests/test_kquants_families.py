"""k-quants of each model family: metadata, and what the serving engine computes against transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import generate_merges

from cluster.errors import ModelError
from cluster.handoff import Agreement, compare
from serving.engines.llama_cpp import Config as EngineConfig
from serving.engines.llama_cpp import Engine
from serving.quantizers._sentencepiece import piece_scores
from serving.quantizers.kquants import Config, write_file
from tests.kquants_models import LLAMA3_ROPE, PRE_TOKENIZERS, TEXTS, LlamaCpp, make_model, make_tokenizer
from trainers.scoring import TransformersHolder

LLAMA2_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
MISTRAL3_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }}[/INST]"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
# Name → family, options, pre-tokenizer, architecture in GGUF, and metadata that this family is about.
FAMILIES: dict[str, tuple[str, dict[str, Any], str, str, dict[str, object]]] = {
    "SmolLM2": (
        "llama",
        {"hidden": 288, "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 384,
         "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}, "num_hidden_layers": 3},
        "smollm", "llama", {"rope.freq_base": 100000.0, "attention.head_count_kv": 3, "rope.dimension_count": 32},
    ),
    "Llama 3": (
        "llama",
        {"rope_parameters": {**LLAMA3_ROPE, "rope_theta": 500000.0}, "tie_word_embeddings": False},
        "llama-bpe", "llama", {"rope.freq_base": 500000.0},
    ),
    "Mistral": (
        "mistral",
        {"tie_word_embeddings": False, "head_dim": 32, "sliding_window": 128, "rms_norm_eps": 1e-5},
        "gpt-2", "llama", {"context_length": 128, "attention.key_length": 32, "rope.dimension_count": 32},
    ),
    "Qwen2": (
        "qwen2",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}, "rms_norm_eps": 1e-6,
         "sliding_window": 64, "use_sliding_window": False},
        "qwen2", "qwen2", {"rope.freq_base": 1000000.0, "context_length": 512},
    ),
    "Qwen3": (
        "qwen3",
        {"head_dim": 80, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}, "rms_norm_eps": 1e-6},
        "qwen2", "qwen3", {"attention.key_length": 80, "attention.value_length": 80, "rope.dimension_count": 80},
    ),
}  # fmt: skip
OWN_TENSORS = {
    "Llama 3": {"rope_freqs.weight", "output.weight"},
    "Qwen2": {"blk.1.attn_q.bias", "blk.1.attn_k.bias", "blk.1.attn_v.bias"},
    "Qwen3": {"blk.1.attn_q_norm.weight", "blk.1.attn_k_norm.weight"},
}
MakeFolder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> MakeFolder:
    """A bfloat16 model of a family with its tokenizer, made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            family, options, pre, _, _ = FAMILIES[name]
            made[name] = make_model(tmp_path_factory.mktemp(family), family, dtype=torch.bfloat16, **options)
            make_tokenizer(pre).save_pretrained(made[name])
        return made[name]

    return folder


def agreement(folder: Path, gguf_file: Path) -> Agreement:
    """The engine's scores against those of transformers in float32, over two sequences of 96 tokens."""
    generator = torch.Generator().manual_seed(1)
    sequences = torch.randint(3, 1000, (2, 96), generator=generator).tolist()
    factory: Any = transformers.AutoModelForCausalLM
    reference = TransformersHolder(factory.from_pretrained(folder, dtype=torch.float32)).score(sequences, 8)
    engine = Engine(EngineConfig(context_tokens=96, num_parallel=2), gguf_file, "tiny", num_cpus=1)
    try:
        return compare(reference, engine.score(sequences, 8))
    finally:
        engine.close()


@pytest.mark.parametrize("name", FAMILIES)
def test_engine_gives_the_log_probabilities_of_transformers(name: str, folder_of: MakeFolder, tmp_path: Path) -> None:
    folder = folder_of(name)
    # Measured: at most a third of these. q and k in a wrong order cost more than 1 nat.
    for recipe, max_nats, max_kl in (("F16", 0.01, 1e-5), ("BF16", 0.04, 1e-4), ("Q8_0", 0.2, 0.002)):
        write_file(folder, tmp_path / "model.gguf", Config(recipe=recipe))
        found = agreement(folder, tmp_path / "model.gguf")
        assert found.num_tokens == 190
        assert found.mean_abs_logprob_diff < max_nats and found.kl < max_kl, (recipe, found)


@pytest.mark.parametrize("name", FAMILIES)
def test_metadata(name: str, folder_of: MakeFolder, tmp_path: Path) -> None:
    _, _, pre, architecture, expected = FAMILIES[name]
    write_file(folder_of(name), tmp_path / "model.gguf", Config(recipe="Q8_0"))
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.architecture"] == architecture
    assert fields["tokenizer.ggml.pre"] == pre
    assert fields["general.file_type"] == 7 and fields["general.quantization_version"] == 2
    assert {key: fields[f"{architecture}.{key}"] for key in expected} == expected
    tensors = {tensor.name for tensor in reader.tensors}
    assert tensors >= OWN_TENSORS.get(name, set())
    assert ("output.weight" in tensors) == (name in ("Llama 3", "Mistral"))


PREPEND = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def metaspace(scheme: Any) -> Any:
    return pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)


def make_sentencepiece(folder: Path, normalizer: Any, pre: Any, template: str | None) -> Any:
    """A tokenizer as conversion from SentencePiece leaves it: byte tokens, and all merges by the order of pieces."""
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    special = ["<unk>", "<s>", "</s>"]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = metaspace("always")
    text = [Path(json.decoder.__file__).read_text(), *TEXTS[:6], *["[INST] Hi 12  there [/INST] Yes, é. x = [1]"] * 3]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special + alphabet, show_progress=False)
    learner.train_from_iterator(text, trainer)
    vocab = learner.get_vocab()
    merges = [
        (piece[:cut], piece[cut:])
        for piece, _ in sorted(vocab.items(), key=lambda entry: entry[1])
        for cut in range(1, len(piece))
        if piece not in special + alphabet and piece[:cut] in vocab and piece[cut:] in vocab
    ]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    wrap: Any = transformers.PreTrainedTokenizerFast
    fast = wrap(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template
    )
    fast.save_pretrained(folder)
    return fast


SENTENCEPIECE: dict[str, tuple[Any, Any, str | None]] = {
    "Llama 2": (PREPEND, None, LLAMA2_TEMPLATE),
    "Llama 2 as transformers 5 writes it": (None, metaspace("always"), LLAMA2_TEMPLATE),
    "Mistral 0.3": (None, metaspace("first"), MISTRAL3_TEMPLATE),
    "base model": (None, metaspace("first"), None),
    "no space": (None, metaspace("never"), MISTRAL3_TEMPLATE),
}
CONVERSATIONS = [
    [("user", "Hi 12  there")],
    [("user", "naïve café 🎉"), ("assistant", "Привет\n\n  мир!"), ("user", "def f(x):\n\treturn x")],
    [("user", " a space first"), ("assistant", "你好"), ("user", "end ")],
]


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_sentencepiece_ids_are_the_same(name: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", "mistral", hidden=64)
    tokenizer = make_sentencepiece(folder, *SENTENCEPIECE[name])
    write_file(folder, tmp_path / "model.gguf", Config(recipe="Q8_0"))
    engine = LlamaCpp(tmp_path / "model.gguf")

    def same(text: str) -> None:
        got = engine.ask("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]
        assert got == tokenizer(text, add_special_tokens=False).input_ids, text

    for turns in CONVERSATIONS if tokenizer.chat_template else []:
        messages = [{"role": role, "content": content} for role, content in turns]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert engine.ask("/apply-template", messages=messages)["prompt"] == text
        same(text)
    for text in TEXTS:
        # Where no token opens the text, "first" puts a space that conversations must not have; and Metaspace takes a
        # space that is there for the one to be put.
        has_space = text.startswith(" ") and name not in ("Llama 2", "no space")
        same(f"{'<s>' if name == 'Mistral 0.3' else ''}{text.lstrip() if has_space else text}")
    fields = gguf.GGUFReader(tmp_path / "model.gguf").fields
    assert fields["tokenizer.ggml.model"].contents() == "llama"
    assert fields["tokenizer.ggml.add_space_prefix"].contents() == (name not in ("Mistral 0.3", "no space"))


def test_sentencepiece_that_llama_cpp_cannot_equal(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", "mistral", hidden=64)
    spaced = "{% for m in messages %}{{ bos_token }} {{ m['content'] }}{% endfor %}"
    make_sentencepiece(folder, None, metaspace("always"), spaced)
    with pytest.raises(ModelError, match=r"no equal of this tokenizer(.|\n)*spaces that llama\.cpp puts"):
        write_file(folder, tmp_path / "model.gguf", Config(recipe="Q8_0"))
    make_sentencepiece(folder, None, pre_tokenizers.Whitespace(), None)
    with pytest.raises(ModelError, match="SentencePiece's own"):
        write_file(folder, tmp_path / "model.gguf", Config(recipe="Q8_0"))
    make_sentencepiece(folder, PREPEND, None, None)
    spec = json.loads((folder / "tokenizer.json").read_text())
    merges = spec["model"]["merges"]
    spec["model"]["merges"] = merges[:40] + merges[41:]
    with pytest.raises(ModelError, match="every pair of pieces"):
        piece_scores(spec)
    shuffled = [*merges[1::2], *merges[::2]]
    spec["model"]["merges"] = shuffled
    with pytest.raises(ModelError, match="among others"):
        piece_scores(spec)


@pytest.mark.parametrize(
    ("file", "normalizer"), [("tokenizer.model.v1", PREPEND), ("mistral_instruct_tokenizer_240323.model.v3", None)]
)
def test_mistrals_own_tokenizers(file: str, normalizer: Any, tmp_path: Path) -> None:
    path = Path(pytest.importorskip("mistral_common").__file__).parent / "data" / file
    processor: Any = pytest.importorskip("sentencepiece").SentencePieceProcessor(str(path))
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    # As transformers 4 converted them, and as it does since it sorts the pieces of equal score, those of spaces.
    scores = {piece: processor.get_score(index) for index, piece in enumerate(pieces)}
    merges = generate_merges(vocab, scores)
    if normalizer:
        merges.sort(key=lambda pair: (-scores["".join(pair)], vocab["".join(pair)]))
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    control = [piece for index, piece in enumerate(pieces) if processor.is_control(index) or index == 0]
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in control])
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = None if normalizer else metaspace("always")
    wrap: Any = transformers.PreTrainedTokenizerFast
    fast = wrap(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    folder = make_model(tmp_path / "model", "mistral", hidden=64, vocab_size=len(vocab))
    fast.save_pretrained(folder)
    write_file(folder, tmp_path / "model.gguf", Config(recipe="Q8_0"))
    engine = LlamaCpp(tmp_path / "model.gguf")
    lines = [*TEXTS, *Path(json.decoder.__file__).read_text().splitlines()[::3], *(f"a{' ' * n}b" for n in range(40))]
    for text in lines:
        got = engine.ask("/tokenize", content=text, add_special=False, parse_special=False)["tokens"]
        if normalizer or not text.startswith(" "):
            assert got == fast(text, add_special_tokens=False).input_ids, text
        assert got == processor.encode(text), text


def test_all_pre_tokenizers_have_a_family() -> None:
    assert {pre for _, _, pre, _, _ in FAMILIES.values()} == set(PRE_TOKENIZERS)
