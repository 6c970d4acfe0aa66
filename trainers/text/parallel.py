"""Work on all cores of the cluster through Ray Data: a task for each item of a list.

The items are pieces of files, not their text: text streams through a task from file to file and never enters the object
store, so that a corpus may be larger than all memory, and its pieces larger than the object store of a laptop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from cluster.errors import RaysmithError

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
    """Yield (place in `items`, what `function` gave) as the tasks finish, in any order.

    Raises:
        RaysmithError: what a task raised; the tasks that still run are cancelled.
    """
    import ray.data
    from ray import cloudpickle

    def task(row: dict[str, Any]) -> dict[str, Any]:
        result: Any
        try:
            result = function(cloudpickle.loads(row["item"]))
        except RaysmithError as error:  # given back as a value: Ray would wrap it in its own, and log a traceback
            result = error
        return {"place": row["place"], "result": cloudpickle.dumps(result)}

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    rows = [{"place": place, "item": cloudpickle.dumps(item)} for place, item in enumerate(items)]
    with ray.data.DataContext.current(context):
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(task, num_cpus=1)
    for row in results.iter_rows():
        result = cloudpickle.loads(row["result"])
        if isinstance(result, RaysmithError):
            raise result
        yield row["place"], result
