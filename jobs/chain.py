"""A chain: jobs that run one after another, each taking up what the one before published.

    name: polite-rlhf
    chain:
      sft: ../sft/polite.yaml            # publishes polite-sft-merged
      reward: ../reward/polite.yaml      # publishes polite-reward-merged
      ppo: ../rl/polite_ppo.yaml         # model: {artifact: polite-sft-merged}, reward: polite-reward-merged

Each link is an ordinary job file, which runs alone, too. An override belongs to the link that it begins with
(`ppo.train.steps=20`), and to all of them if it begins with none.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from cluster.config import Config
from cluster.config_file import load_config, read_tree
from cluster.errors import ConfigError
from jobs.config import JobConfig, load_job
from jobs.console import title
from jobs.inputs import require_inputs
from jobs.plan import make_plan, show_plan


class ChainConfig(Config):
    """A chain's file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")
    """What the whole is called."""
    chain: dict[str, str] = Field(min_length=1)
    """Link → its job file, beside this one; in this order."""


class Link(NamedTuple):
    """One job of a chain."""

    name: str
    job: JobConfig
    planned: JobConfig
    """The job with the model that its own will be made from, where that is not published yet."""


def is_chain(path: Path) -> bool:
    """Whether a file describes a chain rather than a job.

    Raises:
        ConfigError: it is missing or not YAML.
    """
    return "chain" in read_tree(path).tree


def load_chain(path: Path, overrides: list[str]) -> list[Link]:
    """The jobs of a chain.

    Raises:
        ConfigError: as `load_job`, or a link has the name of a section, or two jobs have the same name.
        ArtifactError: a job names something that is neither published nor made by a job before it.
    """
    config = load_config(ChainConfig, path)
    if taken := sorted(set(config.chain) & set(JobConfig.model_fields)):
        raise ConfigError("A link has the name of a section of jobs.", field=f"chain.{taken[0]}", got=str(path))
    links: list[Link] = []
    made: dict[str, JobConfig] = {}
    for name, file in config.chain.items():
        own = [one.removeprefix(f"{name}.") for one in overrides if one.startswith(f"{name}.")]
        common = [one for one in overrides if one.split("=")[0].split(".")[0] not in config.chain]
        job = load_job(path.parent / file, [*common, *own])
        if any(job.name == link.job.name for link in links):
            raise ConfigError("Two jobs of a chain have the same name.", field=f"chain.{name}", got=job.name)
        require_inputs(job, made, name)
        source = made.get(job.model.artifact or "")
        planned = job if source is None else job.model_copy(
            update={"model": source.model, "tokenizer": source.tokenizer}
        )  # fmt: skip
        links.append(Link(name, job, planned))
        made |= dict.fromkeys(_made_by(job), planned)
    return links


def _made_by(job: JobConfig) -> list[str]:
    """Names of what a job publishes that another may begin with."""
    base = [job.model.name] if job.model.artifact is None and job.model.scratch is None else []
    if job.train is None:
        return base
    return base + [f"{job.name}-{kind}" for kind in (("adapter", "merged") if job.train.adapter else ("model",))]


def run_chain(links: list[Link], *, keep_serving: bool = False, fresh: bool = False) -> None:
    """Run the jobs in order; arguments as for `jobs.run.run`, `keep_serving` for the last.

    Raises:
        RaysmithError: as `run`; data that a later job lacks is told before the first begins.
    """
    from jobs.run import run

    for link in links:
        make_plan(link.planned)
    for number, link in enumerate(links, start=1):
        title(f"Link {number} of {len(links)}: {link.name}")
        run(link.job, keep_serving=keep_serving and number == len(links), fresh=fresh)


def show_chain(links: list[Link]) -> None:
    """Print the plan of each job."""
    for link in links:
        show_plan(link.planned)
