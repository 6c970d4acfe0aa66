"""Who is let in to a cluster, and when."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from cluster import growth
from cluster.growth import Group, to_come
from cluster.line import LOST_S, Ask, Cluster, Line
from cluster.packing import Bundle, largest_share, place
from cluster.queue import Need, require_possible

TWO_NODES = Cluster([{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}])


def workers(number: int, gpus: float = 1.0, cpus: float = 1.0) -> list[Bundle]:
    return [{"CPU": cpus, "GPU": gpus} for _ in range(number)]


class Drivers:
    """Drivers that ask one line, each second."""

    def __init__(self, cluster: Cluster = TWO_NODES) -> None:
        self.cluster, self.line, self.now = cluster, Line(), 1000.0
        self.asks: dict[str, Ask] = {}
        self.sent_away: set[str] = set()

    def ask(
        self, name: str, bundles: list[Bundle], priority: int = 0, copies: tuple[int, int] = (1, 1),
        driver: Bundle | None = None,
    ) -> int:  # fmt: skip
        self.asks[name] = Ask(name, name, bundles, priority, copies=copies, driver=driver)
        return self.beat(name)

    def beat(self, name: str) -> int:
        self.now += 1.0
        standing = self.line.beat(self.asks[name], self.cluster, self.now)
        self.asks[name] = self.asks[name]._replace(**{key: standing[key] for key in ("since", "admitted", "let_in")})
        if standing["crowds"]:
            self.sent_away.add(name)
            self.end(name)
        admitted: int = standing["admitted"]
        return admitted

    def end(self, name: str) -> None:
        self.line.leave(name)
        del self.asks[name]

    def inside(self) -> set[str]:
        for _ in range(2):
            for name in list(self.asks):
                if name in self.asks:
                    self.beat(name)
        return {name for name, ask in self.asks.items() if ask.admitted}


def test_two_jobs_that_do_not_fit_together_run_one_after_the_other() -> None:
    drivers = Drivers()
    assert drivers.ask("first", workers(5))
    assert not drivers.ask("second", workers(5))
    assert drivers.inside() == {"first"}
    drivers.end("first")
    assert drivers.inside() == {"second"}


def test_the_whole_is_placed_on_nodes_not_on_a_sum() -> None:
    drivers = Drivers()
    assert drivers.ask("halves", workers(2, gpus=3.0))  # 3 of 4 GPUs on each node
    assert not drivers.ask("pair", workers(1, gpus=2.0))  # 2 GPUs are free, and not on one node
    assert drivers.ask("single", workers(1))  # passes: `pair` could be placed beside it once `halves` has ended


def test_a_large_job_is_not_kept_waiting_by_small_ones_that_keep_coming() -> None:
    drivers = Drivers()
    assert drivers.ask("small-0", workers(2))
    assert not drivers.ask("large", workers(8))
    for number in range(1, 20):
        assert not drivers.ask(f"small-{number}", workers(1)), "it would take what the large one waits for"
    drivers.end("small-0")
    assert drivers.inside() == {"large"}


def test_a_small_job_passes_where_it_takes_nothing_from_those_before_it() -> None:
    drivers = Drivers()
    assert drivers.ask("running", workers(4))
    assert not drivers.ask("large", workers(6))
    assert drivers.ask("small", workers(2))  # 6 + 2 of 8 GPUs
    assert not drivers.ask("another", workers(1))  # 6 + 2 + 1
    drivers.end("running")
    assert drivers.inside() == {"large", "small"}


def test_higher_priority_goes_first_and_puts_nobody_out() -> None:
    drivers = Drivers()
    drivers.ask("running", workers(8))
    drivers.ask("ordinary", workers(8))
    drivers.ask("urgent", workers(8), priority=5)
    assert drivers.inside() == {"running"}
    drivers.end("running")
    assert drivers.inside() == {"urgent"}


def test_places_and_names_are_told() -> None:
    drivers = Drivers()
    drivers.ask("running", workers(8))
    drivers.ask("a", workers(8))
    drivers.ask("b", workers(8), priority=1)
    standing = drivers.line.beat(drivers.asks["a"], drivers.cluster, drivers.now)
    assert (standing["place"], standing["of"], standing["before"]) == (2, 2, ["running", "b"])


def test_a_driver_that_fell_silent_loses_what_it_held() -> None:
    drivers = Drivers()
    drivers.ask("killed", workers(8))
    drivers.ask("next", workers(8))
    silent = drivers.asks.pop("killed")
    killed_at = drivers.now - 1.0
    while drivers.now + 1.0 <= killed_at + LOST_S:
        assert not drivers.beat("next")
    assert drivers.beat("next")
    assert drivers.line.beat(silent, drivers.cluster, drivers.now)["admitted"]  # it was only suspended: it holds still


def test_when_nobody_was_heard_for_long_nobody_has_lost_what_it_held() -> None:
    drivers = Drivers()
    drivers.ask("inside", workers(8))
    drivers.ask("waits", workers(8))
    drivers.now += 3 * LOST_S  # the network of whoever keeps the line was cut, say
    assert not drivers.beat("waits")
    assert drivers.beat("inside")
    for _ in range(30):
        assert not drivers.beat("waits")
        assert drivers.beat("inside")
    gone = drivers.asks.pop("inside")
    drivers.now += 3 * LOST_S
    back_at = drivers.now
    while not drivers.beat("waits"):  # that one has ended in the meantime
        assert drivers.now <= back_at + LOST_S + 2
    assert gone.admitted


def test_a_restarted_keeper_learns_who_was_let_in_before_it_lets_in_anybody() -> None:
    drivers = Drivers()
    drivers.ask("inside", workers(8))
    drivers.ask("waits", workers(8))
    since = drivers.asks["waits"].since
    drivers.line = Line(closed_until=drivers.now + LOST_S)
    assert not drivers.beat("waits")  # asked first, and nobody is known to hold anything yet
    assert drivers.beat("inside")
    assert drivers.asks["waits"].since == since
    drivers.now += LOST_S
    drivers.beat("inside")
    assert not drivers.beat("waits")


def test_what_the_nodes_could_never_hold_holds_nobody_up() -> None:
    drivers = Drivers()
    assert not drivers.ask("lost-a-node", workers(9))
    assert drivers.ask("small", workers(8))


EIGHT_GPUS = Group("gpu", {"CPU": 96, "GPU": 8, "accelerator_type:H100": 1, "memory": 1e12}, 2)


def test_a_cluster_that_starts_nodes_on_demand_lets_in_what_they_will_hold() -> None:
    grows = Cluster([{"CPU": 4.0}], to_come([EIGHT_GPUS], []))
    drivers = Drivers(grows)
    assert drivers.ask("first", workers(10))
    assert not drivers.ask("second", workers(10))
    assert not require_possible(Need(workers(16)), grows)
    assert require_possible(Need(workers(17)), grows) == ["17 GPU are needed, 16 are there"]
    [reason] = require_possible(Need(workers(1, gpus=16.0)), grows)  # their sum would do
    assert "16 GPU, do not fit on 3 nodes, 2 of them not started yet (2 × 96 CPU, 8 GPU; 1 × 4 CPU)" in reason


def test_groups_come_to_the_head_as_they_were_written() -> None:
    groups = [EIGHT_GPUS, Group("cpu", {"CPU": 4.0}, 3)]
    assert growth.decode(growth.encode(groups)) == groups
    assert not growth.decode("")


def test_nodes_that_have_come_are_no_longer_to_come() -> None:
    named = Group("named", {"CPU": 96.0, "GPU": 8.0, "accelerator_type:H100": 1.0}, 2)
    there = {"CPU": 96.0, "GPU": 8.0, "accelerator_type:H100": 1.0, "memory": 9e11, "node:10.0.0.1": 1.0}
    alike: dict[str, Any] = {"Resources": there, "Labels": {}}
    labelled: dict[str, Any] = {"Resources": {"CPU": 95.0}, "Labels": {"ray.io/node-group": "named"}}
    other: dict[str, Any] = {"Resources": {"CPU": 96.0, "GPU": 8.0, "accelerator_type:A100": 1.0}, "Labels": {}}
    groups = [EIGHT_GPUS, named]
    left = [(0, 4), (1, 3), (2, 2), (3, 1), (4, 0), (5, 0)]
    assert [(number, len(to_come(groups, [alike] * number))) for number, _ in left] == left
    assert to_come(groups, [labelled, labelled, other]) == [EIGHT_GPUS.resources] * 2


def test_a_driver_holds_its_cores_while_it_waits() -> None:
    drivers = Drivers(Cluster([{"CPU": 8.0}]))
    core: Bundle = {"CPU": 1.0}
    assert drivers.ask("first", workers(5, gpus=0.0), driver=core)
    assert not drivers.ask("second", workers(6, gpus=0.0), driver=core)
    assert drivers.ask("third", workers(1, gpus=0.0))  # beside 5 + 1 + 1, and later beside 6 + 1
    assert not drivers.ask("fourth", workers(1, gpus=0.0))
    drivers.end("first")
    assert drivers.inside() == {"second", "third"}
    [reason] = require_possible(Need(workers(8, gpus=0.0), driver=core), drivers.cluster)
    assert reason == "9 CPU are needed, 8 are there"


def test_a_driver_holds_its_cores_on_the_node_that_it_runs_on() -> None:
    two = Cluster([{"CPU": 8.0, "GPU": 4.0, "id:a": 1.0}, {"CPU": 8.0, "id:b": 1.0}])
    need = Need(workers(4, cpus=2.0), driver={"CPU": 1.0, "id:a": 0.01})
    assert require_possible(need, two)
    assert not require_possible(need._replace(driver={"CPU": 1.0, "id:b": 0.01}), two)
    [reason] = require_possible(need, two)
    assert "do not fit on 2 nodes" in reason


def test_drivers_that_would_fill_the_cluster_by_waiting_are_sent_away() -> None:
    drivers = Drivers(Cluster([{"CPU": 8.0}]))
    core: Bundle = {"CPU": 1.0}
    for number in range(6):
        drivers.ask(f"job-{number}", workers(5, gpus=0.0), driver=core)
    # 3 drivers and 5 workers are all that there is: one more driver might take what the first is about to take.
    assert drivers.sent_away == {"job-3", "job-4", "job-5"}
    for number in range(3):
        assert drivers.inside() == {f"job-{number}"}
        drivers.end(f"job-{number}")


def test_who_ran_before_has_not_passed_anybody() -> None:
    drivers = Drivers(Cluster([{"CPU": 16.0}]))
    assert drivers.ask("ran-before", workers(8, gpus=0.0))
    assert not drivers.ask("urgent", workers(12, gpus=0.0), priority=10)
    assert drivers.ask("small", workers(4, gpus=0.0))  # 12 + 4 fit once the first has ended, which urgent waits for
    assert not drivers.ask("another", workers(1, gpus=0.0))
    drivers.line = Line(closed_until=drivers.now + LOST_S)  # a keeper that is restarted is told who came when
    drivers.inside()
    drivers.end("small")
    drivers.now += LOST_S
    drivers.inside()
    assert drivers.ask("as-small", workers(3, gpus=0.0))


def test_a_full_cluster_with_many_jobs_is_not_looked_through_at_every_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    # Of the functions that are used: Ray gives classes that were sent by value globals of their own.
    used = Line.beat.__globals__["fits"].__globals__
    really = used["_filled"]

    def counted(*arguments: Any) -> Any:
        looks.append(1)
        return really(*arguments)

    drivers = Drivers(Cluster([{"CPU": 96.0, "GPU": 8.0, f"id:{number}": 1.0} for number in range(64)]))
    drivers.line.beat(Ask("whole", "whole", workers(510)), drivers.cluster, drivers.now)
    monkeypatch.setitem(used, "_filled", counted)
    assert not drivers.ask("sweep", workers(8), copies=(1, 64))
    assert 0 < len(looks) < 20
    looks.clear()
    for _ in range(10):
        assert not drivers.beat("sweep")
        drivers.line.beat(Ask("whole", "whole", workers(510)), drivers.cluster, drivers.now)
    assert not looks
    drivers.line.leave("whole")
    assert drivers.beat("sweep") == 64
    assert 0 < len(looks) < 20


def test_a_sweep_takes_as_many_trials_as_there_is_room_for() -> None:
    drivers = Drivers()
    drivers.ask("job", workers(5))
    assert drivers.ask("sweep", workers(1), copies=(1, 8)) == 3


def test_a_need_that_fits_in_sum_and_on_no_node() -> None:
    [reason] = require_possible(Need(workers(1, gpus=5.0)), TWO_NODES)
    assert "5 GPU, do not fit on 2 nodes" in reason


def test_work_without_gpus_keeps_off_nodes_that_have_them() -> None:
    assert place([{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}], [{"CPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}]) == [1, 0]
    assert largest_share(TWO_NODES.nodes, workers(6)) == 4.0


@pytest.mark.parametrize("seed", range(20))
def test_nobody_waits_for_ever_and_nothing_is_given_twice(seed: int) -> None:
    """Jobs of all sizes and priorities come and go at random: what is let in always fits, and in the end all were."""
    chance, drivers, numbers = random.Random(seed), Drivers(), itertools.count()
    asked: set[str] = set()
    served: set[str] = set()
    for _ in range(120):
        if chance.random() < 0.5:
            name = f"job-{next(numbers)}"
            bundles = workers(chance.randint(1, 8), gpus=float(chance.choice((0, 1, 1, 2))))
            if drivers.cluster.holds(bundles):
                drivers.ask(name, bundles, priority=chance.randint(0, 2))
                asked.add(name)
        inside = drivers.inside()
        served |= inside
        assert drivers.cluster.holds([bundle for name in inside for bundle in drivers.asks[name].bundles])
        if inside and chance.random() < 0.6:
            drivers.end(chance.choice(sorted(inside)))
    while drivers.asks:
        inside = drivers.inside()
        assert inside, "everybody waits"
        served |= inside
        drivers.end(min(inside))
    assert served == asked
    assert len(served) > 20
