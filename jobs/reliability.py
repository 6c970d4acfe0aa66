"""`raysmith plan CONFIG --reliability`: how often a job should save, and what failures would leave of its time.

The arithmetic is `cluster.reliability`'s. Here its figures are found (given, measured by an earlier run of the job, or
assumed; the output says which) and put into words. How to read it: docs/reliability-plan.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from cluster.errors import ConfigError
from cluster.reliability import DAY, Costs, Simulated, best_interval, daly, goodput, mtbf_of_job, simulate, young
from cluster.rundir import read_metrics
from cluster.words import counted
from jobs.cli_options import show
from jobs.config import JobConfig
from jobs.console import fact, title
from jobs.goodput import goodput_of
from jobs.plan import Plan, assumed_step_s, make_plan, one_checkpoint_bytes
from jobs.words import size
from trainers.config import TrainConfig

# 16,384 GPUs on 2,048 nodes were interrupted unexpectedly 419 times in 54 days (The Llama 3 Herd of Models, arXiv
# 2407.21783, section 3.3.4).
LLAMA_NODE_DAYS = 54 * 2048 / 419
_GPUS_PER_NODE = 8
_COPY_BYTES_PER_S = 4e9  # of a worker, to its node's memory
_WRITE_BYTES_PER_S = 2e9  # of all workers together, to shared storage
_RECOVERY_S, _DETECTION_S = 300.0, 30.0
_SIMULATED_S, _SIMULATED_JOBS = 30 * DAY, 40
_BAR = 12


@dataclass(frozen=True)
class Given:
    """What the command line says instead of what would be measured or assumed."""

    node_mtbf_days: float | None = None
    stall_s: float | None = None
    writing_s: float | None = None
    recovery_s: float | None = None
    detection_s: float | None = None
    step_s: float | None = None
    gpus_per_node: int | None = None
    seed: int = 0


class Figure(NamedTuple):
    """A number, and where it is from."""

    value: float
    origin: str


@dataclass(frozen=True)
class Assumptions:
    """What the table is computed from."""

    node_mtbf_s: Figure
    stall_s: Figure
    writing_s: Figure
    detection_s: Figure
    recovery_s: Figure
    step_s: Figure | None
    gpus_per_node: int

    @property
    def costs(self) -> Costs:
        """As the arithmetic takes them: work waits from the failure on."""
        return Costs(self.stall_s.value, self.recovery_s.value + self.detection_s.value, self.writing_s.value)


class Row(NamedTuple):
    """One size of cluster."""

    gpus: int
    nodes: int
    mtbf_s: float
    interval_s: float
    young_s: float
    daly_s: float
    every_steps: int | None
    """`train.checkpoint.every_steps` for that interval; None when a step's time is not known."""
    goodput: float
    simulated: Simulated
    as_it_is: float | None
    """Goodput with the job's own `every_steps`."""


def assumptions(job: JobConfig, given: Given) -> Assumptions:
    """The figures for a job: what is given, else what its run has measured, else what is assumed."""
    train = _training(job)
    folder = job.storage.location() / "runs" / job.name
    measured, steps = goodput_of(folder), read_metrics(folder / "metrics.jsonl")
    plan = make_plan(job, without_data=True)
    stall, writing = _assumed_saving(job, train, plan)
    recovery, detection = Figure(_RECOVERY_S, "assumed"), Figure(_DETECTION_S, "assumed")
    planned = assumed_step_s(plan, job)
    step = None if planned is None else Figure(planned, "planned, on H100s")
    if measured is not None and measured.stall_s and measured.written_s:
        held = fmean(measured.stall_s)
        stall = Figure(held, f"measured, {counted(len(measured.stall_s), 'save')}")
        writing = Figure(max(0.0, fmean(measured.written_s) - held), stall.origin)
    if measured is not None and measured.restart_s:
        recovery = Figure(fmean(measured.restart_s), f"measured, {counted(len(measured.restart_s), 'restart')}")
        detection = Figure(0.0, "within the recovery that was measured")
    if steps:
        step = Figure(median(one["seconds"] for one in steps), f"measured, {counted(len(steps), 'step')}")
    told = "given"
    days = given.node_mtbf_days
    return Assumptions(
        node_mtbf_s=Figure((days or LLAMA_NODE_DAYS) * DAY, told if days else "assumed: that of Llama 3's training"),
        stall_s=stall if given.stall_s is None else Figure(given.stall_s, told),
        writing_s=writing if given.writing_s is None else Figure(given.writing_s, told),
        detection_s=detection if given.detection_s is None else Figure(given.detection_s, told),
        recovery_s=recovery if given.recovery_s is None else Figure(given.recovery_s, told),
        step_s=step if given.step_s is None else Figure(given.step_s, told),
        gpus_per_node=given.gpus_per_node or _GPUS_PER_NODE,
    )


def _training(job: JobConfig) -> TrainConfig:
    if job.train is None:
        raise ConfigError(
            "The job trains nothing: there are no checkpoints to time.", field="train", got="no such section",
            expected="train: {…}",
        )  # fmt: skip
    return job.train


def _assumed_saving(job: JobConfig, train: TrainConfig, plan: Plan) -> tuple[Figure, Figure]:
    num_bytes = one_checkpoint_bytes(train, plan.shape)
    copying = num_bytes / max(1, job.cluster.max_workers) / _COPY_BYTES_PER_S
    writing = num_bytes / _WRITE_BYTES_PER_S
    rate = f"assumed: {size(num_bytes)}, {size(_WRITE_BYTES_PER_S)}/s to storage"
    if not train.checkpoint.asynchronous:
        return Figure(copying + writing, rate), Figure(0.0, "asynchronous: false")
    return Figure(copying, f"assumed: {size(_COPY_BYTES_PER_S)}/s of a worker"), Figure(writing, rate)


def sizes() -> Iterator[int]:
    """8 to 16,384 GPUs."""
    return (8 * 2**power for power in range(12))


def row(gpus: int, known: Assumptions, every_steps: int, seed: int) -> Row:
    """What failures leave of a job on so many GPUs."""
    nodes = max(1, -(-gpus // known.gpus_per_node))
    mtbf_s, costs = mtbf_of_job(known.node_mtbf_s.value, nodes), known.costs
    interval_s = best_interval(costs, mtbf_s)
    step_s = known.step_s.value if known.step_s else None
    every = None if step_s is None else max(1, round(interval_s / step_s))
    work_s = min(_SIMULATED_S, 20_000 * interval_s)
    return Row(
        gpus, nodes, mtbf_s, interval_s, young(costs.stall_s, mtbf_s), daly(costs.stall_s, mtbf_s), every,
        goodput(interval_s, costs, mtbf_s),
        simulate(interval_s, costs, mtbf_s, work_s, jobs=_SIMULATED_JOBS, seed=seed),
        None if step_s is None else goodput(every_steps * step_s, costs, mtbf_s),
    )  # fmt: skip


def show_reliability(job: JobConfig, given: Given, plot: Path | None = None) -> None:
    """Print the figures and the table; draw it into a PNG file if one is named.

    Raises:
        ConfigError: the job trains nothing.
    """
    train, known = _training(job), assumptions(job, given)
    title(f"Reliability of {job.name}: how often to save, and what failures leave")
    shown = (
        ("a node fails every", known.node_mtbf_s), ("a save holds up", known.stall_s),
        ("and is complete after", known.writing_s), ("a failure is seen after", known.detection_s),
        ("recovery takes", known.recovery_s), ("a step takes", known.step_s),
    )  # fmt: skip
    for label, figure in shown:
        fact(
            label, "not known; give it with --step-s" if figure is None else f"{_time(figure.value)}  ({figure.origin})"
        )
    every = train.checkpoint.every_steps
    rows = [row(gpus, known, every, given.seed) for gpus in sizes()]
    show(_table(rows, every))
    _advise(job, known, every, given.seed)
    if plot is not None:
        draw(rows, every, plot)
        fact("plot", str(plot))


def _advise(job: JobConfig, known: Assumptions, every_steps: int, seed: int) -> None:
    workers, on_gpus = job.cluster.max_workers, job.cluster.gpus_per_worker > 0
    own = row(workers if on_gpus else workers * known.gpus_per_node, known, every_steps, seed)
    what = counted(workers, "GPU") if on_gpus else f"{counted(workers, 'worker')}, each taken for a node"
    fact("this job", f"{what}: fails every {_time(own.mtbf_s)}, best interval {_time(own.interval_s)}")
    if own.every_steps is None or own.as_it_is is None:
        return
    # A long interval costs only when something fails: nobody should lose hours for a per mille.
    words = f"{own.every_steps:,} gives {own.goodput:.2%}; {every_steps:,}, as it is, {own.as_it_is:.2%}"
    fact("checkpoint.every_steps", words)


def _table(rows: list[Row], every_steps: int) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("GPUs", "fails every", "save every", "(Young)", "(Daly)", "steps", "goodput", "simulated"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(f"every {every_steps:,}", justify="right", no_wrap=True)
    table.add_column("lost", no_wrap=True)
    most = max(1 - one.goodput for one in rows)
    for one in rows:
        table.add_row(
            f"{one.gpus:,}", _time(one.mtbf_s), _time(one.interval_s), _time(one.young_s), _time(one.daly_s),
            "–" if one.every_steps is None else f"{one.every_steps:,}", f"{one.goodput:.1%}",
            f"{100 * one.simulated.low:.1f}–{one.simulated.high:.1%}",
            "–" if one.as_it_is is None else f"{one.as_it_is:.1%}",
            Text("█" * round(_BAR * (1 - one.goodput) / most), style="cyan"),
        )  # fmt: skip
    return table


def draw(rows: list[Row], every_steps: int, path: Path) -> None:
    """Goodput over the number of GPUs: best, simulated, as configured; and the best interval."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(9, 4), layout="constrained")
    left, right = drawing.subplots(1, 2)
    gpus = [one.gpus for one in rows]
    left.plot(gpus, [one.goodput for one in rows], marker=".", label="best interval")
    spread = [one.simulated for one in rows]
    left.fill_between(
        gpus, [one.low for one in spread], [one.high for one in spread], alpha=0.25, label="simulated, 90%"
    )
    if all(one.as_it_is is not None for one in rows):
        left.plot(gpus, [one.as_it_is or 0.0 for one in rows], linestyle="--", label=f"every {every_steps:,} steps")
    left.set(xscale="log", xlabel="GPUs", ylabel="goodput", ylim=(0, 1.02), title="Share of time that is kept work")
    left.legend(loc="lower left")
    for label, values in (
        ("best", [one.interval_s for one in rows]), ("Young", [one.young_s for one in rows]),
        ("mean time between failures", [one.mtbf_s for one in rows]),
    ):  # fmt: skip
        right.plot(gpus, values, marker="." if label == "best" else None, label=label)
    right.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="seconds", title="Checkpoint interval")
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, format="png", dpi=120)


def _time(seconds: float) -> str:
    """Two digits that count, in the unit that fits: 0.024 s, 51 s, 9.6 min, 3.1 h, 260 d."""
    for unit, scale in (("d", DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * scale:
            value = seconds / scale
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
