"""The shapes of the handwritten explanations, and the rules that every one of them keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LABELS = {"idea": "Idea", "how": "How it works", "example": "Example", "limit": "Limit", "see": "See also"}
SHARED = ("idea", "how", "limit", "see")
ASKS = 3
VARIANTS = 2
HOW_SENTENCES = 2
SEE_NAMES = (2, 3)


class ContentError(ValueError):
    """The handwritten content cannot be turned into a data set that keeps its promises."""


@dataclass(frozen=True)
class HeldOut:
    """A question only in the held-out file, with its own lines; an empty `see` is taken from the concept."""

    ask: str
    idea: str
    how: str
    example: str
    limit: str
    see: str = ""

    def lines(self) -> dict[str, str]:
        """Return the lines written for the held-out file."""
        parts = {"idea": self.idea, "how": self.how, "example": self.example, "limit": self.limit, "see": self.see}
        return {part: text for part, text in parts.items() if text}


@dataclass(frozen=True)
class Concept:
    """One concept: three questions for training, two wordings of each line and an example for each question.

    The first question gets the first wordings, the second the second ones, the third two lines of each; `third` names
    the wordings that its question needs. A concept without `asks` is only held out.
    """

    name: str
    asks: list[str] = field(default_factory=list)
    idea: list[str] = field(default_factory=list)
    how: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    limit: list[str] = field(default_factory=list)
    see: list[str] = field(default_factory=list)
    third: Mapping[str, int] = field(default_factory=dict)
    heldout: HeldOut | None = None

    def wordings(self) -> dict[str, list[str]]:
        """Return the two wordings of each line that the three replies share."""
        return {"idea": self.idea, "how": self.how, "limit": self.limit, "see": self.see}


def sentences(text: str) -> int:
    """Return the number of sentences in a text."""
    return text.count(". ") + 1


def check_line(part: str, text: str) -> None:
    """Reject a line that breaks the fixed structure."""
    low, high = SEE_NAMES
    fits = text.endswith(".") and "\n" not in text and text == text.strip()
    if part == "idea":
        fits = fits and sentences(text) == 1
    elif part == "how":
        fits = fits and sentences(text) <= HOW_SENTENCES
    elif part == "see":
        fits = fits and low <= len(text.split(", ")) <= high
    if not fits:
        raise ContentError(f"{part} breaks the structure: {text}")


def check_concept(concept: Concept) -> None:
    """Reject a concept with missing parts or with lines that break the structure."""
    counts = [len(options) for options in concept.wordings().values()]
    if concept.asks:
        whole = len(concept.asks) == len(concept.examples) == ASKS and set(counts) == {VARIANTS}
    else:
        whole = not any([*counts, len(concept.examples)]) and concept.heldout is not None and bool(concept.heldout.see)
    if not whole or not set(concept.third) <= set(SHARED) or len(concept.third) > VARIANTS:
        raise ContentError(f"{concept.name}: parts are missing or left over")
    for part, options in [*concept.wordings().items(), ("example", concept.examples)]:
        for text in options:
            check_line(part, text)
    if concept.heldout is not None:
        for part, text in concept.heldout.lines().items():
            check_line(part, text)


def reply(lines: Mapping[str, str]) -> str:
    """Return an assistant message: the five labelled lines in their fixed order."""
    return "\n".join(f"{label}: {lines[part]}" for part, label in LABELS.items())


def repeated(texts: Sequence[str]) -> list[str]:
    """Return the texts that occur more than once, whatever their case."""
    folded = [text.casefold() for text in texts]
    return sorted({text for text in folded if folded.count(text) > 1})
