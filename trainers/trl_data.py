"""A data set as TRL's trainers read it: the examples that the token store kept, as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import ConfigError
from trainers.data.chat import read_records, render_file
from trainers.data.store import TokenData
from trainers.models import load_tokenizer
from trainers.objectives.trl import METHODS

if TYPE_CHECKING:
    from datasets import Dataset

    from trainers.loop import Job

_COLUMNS = {"chosen_ids": "pairs", "label": "labelled", "trained": "chat"}
_KEYS = ("prompt", "chosen", "rejected", "completion", "label", "messages")


def dataset(job: Job, part: str, method: str) -> Dataset:
    """The examples of a part of the data set that the token store kept, in the form that the method reads.

    Raises:
        ConfigError: the method does not train on that kind of data.
        DataError: the tokens were made with another tokenizer than the base model's.
    """
    from datasets import Dataset

    data = TokenData(job.tokens / part)
    data.require_tokenizer(job.base)
    columns = data.stores[0].manifest.columns
    kind = next((kind for column, kind in _COLUMNS.items() if column in columns), "unknown")
    if kind != METHODS[method]:
        raise ConfigError(
            "The method does not train on that kind of data.", field="data.kind", got=f"{kind}, for {method}",
            expected=METHODS[method],
        )  # fmt: skip
    path = job.dataset / f"{part}.jsonl"
    records = dict(read_records(path, "an example"))
    if kind == "chat":
        too_long = render_file(load_tokenizer(job.base), path, int(data.lengths.max()))[1].too_long_lines
        kept = sorted(records.keys() - set(too_long))
    else:
        kept = [int(data[index]["line"][0]) for index in range(len(data))]
    return Dataset.from_list([_example(records[line], method) for line in kept])


def _example(record: dict[str, Any], method: str) -> dict[str, Any]:
    if method == "distillation":  # the student answers, and the teacher judges its answer
        last = max(index for index, turn in enumerate(record["messages"]) if turn["role"] == "assistant")
        return {"prompt": record["messages"][:last]}
    return {key: record[key] for key in _KEYS if key in record}


def longest_conversation(store: Path) -> int:
    """Tokens of the longest conversation in a token store."""
    data = TokenData(store)
    return max(
        len(values) for index in range(len(data)) for name, values in data[index].items() if name.endswith("_ids")
    )
