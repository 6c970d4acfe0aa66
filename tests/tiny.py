"""A tiny model that tests train and serve: random weights, a BPE tokenizer trained on the spot, a chat template."""

from __future__ import annotations

import random
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = "the a cat dog sees likes finds red blue small house tree when it rains and then goes home again".split()


def sentence(rng: random.Random, length: int = 8) -> str:
    """A random sentence of the words that the tokenizer knows."""
    return " ".join(rng.choice(WORDS) for _ in range(length)) + "."


def conversations(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Conversations whose answer depends on the question: something a tiny model can learn."""
    rng = random.Random(seed)
    return [
        {
            "messages": [
                {"role": "user", "content": sentence(rng)},
                {"role": "assistant", "content": f"it {rng.choice(WORDS)} and goes home again."},
            ]
        }
        for _ in range(count)
    ]


def make_tokenizer(folder: Path) -> None:
    """Train a byte-level BPE tokenizer of 512 tokens whose pre-tokenizer is SmolLM's, and save it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    rng = random.Random(1)
    tokenizer.train_from_iterator([sentence(rng) for _ in range(500)], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def make_tiny_model(folder: Path, hidden: int = 256, layers: int = 2, seed: int = 0) -> None:
    """Write config.json, model.safetensors (bfloat16) and the tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
