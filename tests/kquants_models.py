"""Small random models of each family that k-quants writes, their tokenizers, and llama.cpp's server."""

from __future__ import annotations

import importlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "It's we're they'll I'd DON'T",
    "  two  spaces,\ttabs\n\n\nand lines  \n end ",
    "x = [i**2 for i in range(10)]  # 3.14159",
    "In 1984, 12345 of 67 890 were 0.5%",
    "naïve café, Zürich, Ångström, ﬁne",
    "Привет, мир! 你好，世界。 こんにちは 안녕",
    "👩‍👩‍👧 emoji 🎉🎉 and ½ ² Ⅷ",
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
    "a<|im_end|>b <|im_start|> c",
    "camelCase snake_case SCREAMING-KEBAB http://example.com/?q=1&r=2",
    "١٢٣ ٤٥ ३४",
    "",
]
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
BYTES_ONLY = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
BYTES_AND_WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False)
PRE_TOKENIZERS = {
    "gpt-2": BYTES_AND_WORDS,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES_AND_WORDS]),
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"), BYTES_ONLY]),
    "qwen2": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3_SPLIT.replace("{1,3}", "")), "isolated"), BYTES_ONLY]
    ),
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def make_tokenizer(pre_tokenizer: str = "smollm") -> Any:
    """A BPE of about 1000 tokens, learned from a page of the standard library."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre_tokenizer == "llama-bpe"))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre_tokenizer]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=[AddedToken(text, special=True) for text in ("<|end|>", "<|im_start|>", "<|im_end|>")],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([Path(json.decoder.__file__).read_text(), *TEXTS], trainer)
    wrap: Any = transformers.PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|end|>",
        pad_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
    )


def make_model(
    folder: Path, family: str = "llama", hidden: int = 256, *, dtype: torch.dtype = torch.float32, **options: Any
) -> Path:
    """Write a small random model of a family, without tokenizer, to `folder`."""
    torch.manual_seed(0)
    fields: dict[str, Any] = {
        "vocab_size": 1024,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        # Far from uniform: else every next token is a near tie, and any error goes unseen.
        "initializer_range": 0.1,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    config = transformers.AutoConfig.for_model(family, **(fields | options))
    factory: Any = transformers.AutoModelForCausalLM
    model = factory.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # norms of one and biases of zero would hide a wrong order
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.2)
    model.to(dtype).save_pretrained(folder)
    return folder


class LlamaCpp:
    """llama.cpp's server, in this process."""

    def __init__(self, path: Path) -> None:
        xllamacpp = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 256, 1, False, -1
        params.cpuparams.n_threads = 2
        self.server = xllamacpp.Server(params)

    def log_probs(self, ids: list[int], vocab_size: int = 1024) -> np.ndarray[Any, Any]:
        """Log-probabilities [vocab] of the token after `ids`."""
        # The server withholds the numbers of an end token, or of half a character: the bias makes it say "!", and does
        # not touch the log-probabilities, which are those before sampling.
        plain = self.ask("/tokenize", content="!")["tokens"][0]
        options = {"n_probs": vocab_size, "logit_bias": [[plain, 1000.0]], "cache_prompt": False}
        answer = self.server.handle_completions({"prompt": ids, "n_predict": 1, **options})
        found = np.full(vocab_size, np.nan)
        for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            found[entry["id"]] = entry["logprob"]
        assert not np.isnan(found).any()
        return found

    def ask(self, route: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self.server.listening_address + route,
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
