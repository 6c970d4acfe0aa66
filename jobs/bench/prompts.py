"""Prompts of a given length that share nothing but what they are told to share."""

from __future__ import annotations

import random

from jobs.bench.config import LoadConfig

# Common words: with the space before it, each is one token of nearly every tokenizer.
_WORDS = """
able account action active actual address advice after again against age agree air allow almost alone along already
always among amount animal answer apple area argue around arrive art artist ask author autumn away baby back balance
ball bank base basic beach bear beat beautiful become before begin behind believe benefit best better between beyond
bird black blue board boat body book border both bottom box boy brain branch bread break bridge bright bring brother
brown budget build building business button camera camp capital captain card care carry case catch cause cell center
central century certain chain chair chance change chapter charge cheap check child choice choose church circle city
claim class clean clear climb clock close cloud coast coat coffee cold collect college color come common company
compare complete computer concern condition consider contain continue control cook cool copy corner correct cost
cotton count country couple course court cover create cross crowd cry culture cup current custom cut daily dance
danger dark data daughter day deal debate decide deep degree demand depend describe desert design desk detail develop
different difficult dinner direct discover discuss disease distance divide doctor dog dollar door double doubt down
draw dream dress drive dry during dust duty each early earth east easy eat edge education effect effort egg eight
either election else empty energy engine enjoy enough enter entire equal escape evening event every evidence exact
example except exercise exist expect experience explain express eye face fact factory fail fair faith fall family
famous farm fast father fear feel field figure fill film final find fine finger finish fire first fish five flat floor
flow flower fly follow food foot force foreign forest forget form forward four free fresh friend front fruit full fun
future game garden gas gate general gentle gift girl give glass goal gold good government grand grass great green
ground group grow guard guess guide habit hair half hall hand happen happy hard hat head health hear heart heat heavy
help high hill history hold hole holiday home honest hope horse hospital hot hotel hour house huge human hundred hunt
hurry husband ice idea image imagine important improve inch include income increase indeed industry inside instead
interest iron island issue job join journey judge jump just keep key kind king kitchen knee know lady lake land
language large last late laugh law lead leaf learn leave left leg legal length less letter level library lie life
light line list listen little live local long look lose lot love low luck lunch machine main major make man manner
many map mark market marry master match matter meal mean measure meat meet member memory mention message metal middle
might mile milk mind minute miss mix model modern moment money month moon morning mother motion mountain mouth move
music name narrow nation nature near neck need
""".split()  # noqa: SIM905
_ASK = "Write a long story in which all of these words appear."


class Prompts:
    """The prompts of a load, by their number; the same for the same seed."""

    def __init__(self, load: LoadConfig) -> None:
        self._seed = load.seed
        self._shared = _words(f"{load.seed} shared", load.shared_prefix_tokens)
        self._num_words = max(1, load.prompt_tokens - len(_ASK.split()) - 2)

    def prompt(self, number: int) -> str:
        """Words of its own come first: a cache finds no common beginning but the one that is wanted."""
        return f"{self._shared}{_words(f'{self._seed} {number}', self._num_words)}\n\n{_ASK}"


def _words(seed: str, count: int) -> str:
    return "".join(f"{word} " for word in random.Random(seed).choices(_WORDS, k=count))  # noqa: S311
