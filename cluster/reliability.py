"""How much of a cluster's time becomes training that is kept, and how often to save: arithmetic, and a simulation.

Times in seconds. A job fails when any of its nodes does; failures are independent and have no memory (exponential), so
that a job of n nodes has a mean time between failures M = m / n. Between two checkpoints it works for τ. A save holds
the workers up for b (*stall*), and is complete only t later (*writing*, beside training). After a failure all waits for
R until it works again from the newest complete checkpoint: to see the failure, to start the workers, to load the
states; a failure while it recovers makes it recover again.

In a stretch of work between two failures, of exponential length, the k-th checkpoint counts if the stretch is longer
than t + k (τ + b). So work kept by a stretch is τ e^(−t/M) / (e^((τ+b)/M) − 1) on the mean, the stretch and the
recovery after it take M e^(R/M), and the share of time that is kept work is

    goodput = τ / (M e^((R+t)/M) (e^((τ+b)/M) − 1)),

which for t = 0 is Daly's model (2006, equation 20). What is written beside training thus costs as much as a recovery
that is longer by the same time: nothing between failures. The best τ does not depend on R and t.

J. W. Young, A first order approximation to the optimum checkpoint interval. Communications of the ACM 17(9), 1974.
J. T. Daly, A higher order estimate of the optimum checkpoint interval for restart dumps. FGCS 22(3), 2006.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

DAY = 86_400.0


@dataclass(frozen=True)
class Costs:
    """What saving and failing cost, seconds."""

    stall_s: float
    """What a save holds the workers up."""
    recovery_s: float
    """From a failure until work goes on, without the work that was lost."""
    writing_s: float = 0.0
    """From the end of the stall until the checkpoint is complete; the next save waits for it."""


def mtbf_of_job(node_s: float, nodes: int) -> float:
    """Mean time between failures of a job."""
    return node_s / nodes


def young(stall_s: float, mtbf_s: float) -> float:
    """Young's interval, √(2 b M)."""
    return math.sqrt(2 * stall_s * mtbf_s)


def daly_first(stall_s: float, mtbf_s: float, recovery_s: float) -> float:
    """Daly's first order: √(2 b (M + R)) − b."""
    return math.sqrt(2 * stall_s * (mtbf_s + recovery_s)) - stall_s


def daly(stall_s: float, mtbf_s: float) -> float:
    """Daly's higher order, good to a few per mille of the time: for b < 2 M, and M beyond."""
    if stall_s >= 2 * mtbf_s:
        return mtbf_s
    x = math.sqrt(stall_s / (2 * mtbf_s))
    return math.sqrt(2 * stall_s * mtbf_s) * (1 + x / 3 + x * x / 9) - stall_s


def best_interval(costs: Costs, mtbf_s: float) -> float:
    """The τ of the highest goodput: the root of (1 − τ/M) e^((τ+b)/M) = 1; but never shorter than the writing takes."""
    low, high = 0.0, mtbf_s  # the left side falls from e^(b/M) ≥ 1 to 0
    for _ in range(200):
        middle = (low + high) / 2
        if math.log1p(-middle / mtbf_s) + (middle + costs.stall_s) / mtbf_s > 0:
            low = middle
        else:
            high = middle
    return max((low + high) / 2, costs.writing_s)


def goodput(interval_s: float, costs: Costs, mtbf_s: float) -> float:
    """The expected share of time that becomes kept work, saving each time after so much work."""
    interval_s = max(interval_s, costs.writing_s)
    later, period = (costs.recovery_s + costs.writing_s) / mtbf_s, (interval_s + costs.stall_s) / mtbf_s
    if later + period > 700:  # e to that is more than a number holds
        return 0.0
    return interval_s / (mtbf_s * math.exp(later) * math.expm1(period))


class Simulated(NamedTuple):
    """What many simulated jobs came to."""

    mean: float
    low: float
    """The goodput that one job in twenty falls short of …"""
    high: float
    """… and that one in twenty passes."""
    failures: float
    """Of a job, the mean."""


def simulate(
    interval_s: float, costs: Costs, mtbf_s: float, work_s: float, *, jobs: int = 200, seed: int = 0
) -> Simulated:
    """Run jobs of so much work through failures drawn at random, event by event; hopeless ones as long as it tells.

    It shares nothing with the formula but the rules: a job saves each time after `interval_s` of work (a save waits for
    the one before it) and once at its end, and goes back to the newest complete checkpoint when it fails.
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation
    shares, failures = [], 0
    for _ in range(jobs):
        seconds, done, failed = _one_job(interval_s, costs, mtbf_s, work_s, rng)
        shares.append(done / seconds)
        failures += failed
    shares.sort()
    edge = max(0, round(0.05 * jobs) - 1)
    return Simulated(sum(shares) / jobs, shares[edge], shares[-1 - edge], failures / jobs)


_ENOUGH = 10_000
"""A job that has failed so often is given up, and counted as it stands: it may never end, and its share is known."""


def _one_job(
    interval_s: float, costs: Costs, mtbf_s: float, work_s: float, rng: random.Random
) -> tuple[float, float, int]:
    """Seconds, the work done in them, and failures."""
    now, done, failed = 0.0, 0.0, 0
    while failed < _ENOUGH:
        stretch = rng.expovariate(1 / mtbf_s)
        kept, ended = _stretch(done, stretch, interval_s, costs, work_s)
        if ended is not None:
            return now + ended, work_s, failed
        now, done, failed = now + stretch, kept, failed + 1
        while failed < _ENOUGH and (until := rng.expovariate(1 / mtbf_s)) < costs.recovery_s:
            now, failed = now + until, failed + 1  # it fails again while it recovers
        now += costs.recovery_s
    return now, done, failed


def _stretch(done: float, length: float, interval_s: float, costs: Costs, work_s: float) -> tuple[float, float | None]:
    """What is complete after a stretch that begins with `done`; and when within it the job ended, if it did."""
    now, at, complete, ready = 0.0, done, done, 0.0
    while True:
        step = min(interval_s, work_s - at)
        saved_at = max(now + step, ready)  # a save waits for the one before it
        if ready and ready <= length:
            complete = at
        stalled = saved_at + costs.stall_s
        at += step
        if at >= work_s:  # the last save is waited for
            over = stalled + costs.writing_s
            return (work_s, over) if over <= length else (complete, None)
        if stalled > length:
            return complete, None
        now, ready = stalled, stalled + costs.writing_s
