"""What a training worker imports, for the process that tests fork workers from."""

import peft  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

import trainers.build
import trainers.checkpoint
import trainers.data.feed
import trainers.evaluate
import trainers.export
import trainers.loop
import trainers.metrics
import trainers.objectives.causal_lm
import trainers.objectives.sft
import trainers.saver  # noqa: F401
