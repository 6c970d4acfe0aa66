"""What runs and nodes may report, and the alerts that must fire then, and no others; notation as in `alert_cases`.

Prometheus's clock begins at 0 in these tests, so the series `0+30x200` is also the time.
"""

from __future__ import annotations

from tests.alert_cases import STEPS, Series, growing

TOLD = {"job": "raysmith-runs", "instance": "127.0.0.1:9091"}
NODE = {"job": "raysmith-ray", "instance": "10.0.0.4:8080"}
NOW = growing(30)
GPU = {"ip": "10.0.0.4", "IsHeadNode": "false", "GpuIndex": "0"}


def _series(name: str, value: str | float, target: dict[str, str], labels: dict[str, str]) -> Series:
    values = value if isinstance(value, str) else f"{value}+0x{STEPS}"
    selected = ",".join(f'{key}="{text}"' for key, text in (target | labels).items())
    return {f"{name}{{{selected}}}": values}


def told(name: str, value: str | float, run: str = "tuned", **labels: str) -> Series:
    """What `raysmith monitor up` tells of a run."""
    return _series(f"raysmith_run_{name}", value, TOLD, {"run": run, **labels})


def trained(name: str, value: str | float, run: str = "tuned", worker: str = "w1") -> Series:
    """A gauge of a training's worker."""
    return _series(f"ray_raysmith_train_{name}", value, NODE, {"run": run, "WorkerId": worker})


def node(name: str, value: str | float, **labels: str) -> Series:
    """A metric of Ray's."""
    return _series(name, value, NODE, labels)


def _events(kind: str, values: str | float) -> Series:
    return told("events_total", values, kind=kind)


def _storage(free: float) -> Series:
    return _series("raysmith_storage_free_bytes", free, TOLD, {}) | _series(
        "raysmith_storage_size_bytes", 1e12, TOLD, {}
    )


def _gpu(use: float, held: float) -> Series:
    return node("ray_node_gpus_utilization", use, **GPU) | node("ray_resources", held, Name="GPU", State="USED")


TRAINING: Series = {
    **_series("up", 1, TOLD, {}),
    **told("status", 1, status="running"),
    **told("training", 1),
    **told("step", NOW),
    **told("steps", 1e6),
    **told("loss", 2.5),
    **told("last_sign_timestamp_seconds", NOW),
    **told("allowed_silence_seconds", 400),
    **told("phase", 1, phase="step"),
    **told("outside_steps_ratio", 0.1),
    **told("goodput_ratio", 0.95),
    **_events("checkpoint_failed", 0),
    **_events("resumed", 0),
    **_events("not_finite", 0),
    **_events("drift", 0),
    **_events("reward_hacking", 0),
    **_storage(3e11),
    **trained("open", 1),
    **trained("loss", 2.5),
    **trained("data_wait_share", 0.02),
}
LEARNING: Series = {
    **TRAINING,
    **trained("reward", 0.4),
    **trained("entropy", 0.9),
    **trained("mixed_groups", 0.5),
    **trained("data_wait_share", 0.6),  # rollouts
}
HEALTHY_NODE: Series = {
    **node("up", 1),
    **node("ray_node_mem_used", 4e9, ip="10.0.0.4"),
    **node("ray_node_mem_total", 16e9, ip="10.0.0.4"),
    **node("ray_node_disk_utilization_percentage", 40, ip="10.0.0.4"),
    **node("ray_spill_manager_request_total", 0, Type="Spilled"),
    **node("ray_node_gpu_temperature_celsius", 60, **GPU),
    **_gpu(85, 1),
}
# Silent since minute 80, and so for 600 s at minute 90.
SILENT = told("last_sign_timestamp_seconds", "0+30x160 4800+0x40")
STARTING = (
    told("phase", "_x200", phase="step") | told("phase", 1, phase="start") | told("allowed_silence_seconds", 1800)
)

_OF_RUNS: dict[str, tuple[Series, set[str]]] = {
    "healthy": ({}, set()),
    "silent for ten minutes, 400 s are allowed": (SILENT, {"RunStalled"}),
    "silent for ten minutes, 700 s are allowed": (SILENT | told("allowed_silence_seconds", 700), set()),
    "silent in a held-out measurement": (
        SILENT | told("phase", "_x200", phase="step") | told("phase", 1, phase="measure"), {"RunStalled"}
    ),
    "silent since training ended": (SILENT | told("training", 0), set()),
    "ended": (SILENT | told("training", 0) | told("status", 1, status="done") | told("status", "_x200"), set()),
    "gone from the list": (
        told("last_sign_timestamp_seconds", "0+30x130 3900+0x20 _x50") | told("training", "1+0x150 _x50"), set()
    ),
    "another run is silent": (
        told("training", 1, "other") | told("last_sign_timestamp_seconds", "0+0x200", "other")
        | told("allowed_silence_seconds", 300, "other") | told("phase", 1, "other", phase="step"), {"RunStalled"}
    ),
    "its workers are waited for": (
        told("training", 0) | told("phase", "_x200", phase="step") | told("allowed_silence_seconds", "_x200")
        | told("last_sign_timestamp_seconds", "_x200"), set()
    ),
    "no first step for 40 minutes": (told("last_sign_timestamp_seconds", 3000) | STARTING, {"RunNotStarted"}),
    "no first step for 20 minutes": (told("last_sign_timestamp_seconds", 4200) | STARTING, set()),
    "resumed, no first step for 20 minutes, fast steps before": (
        told("last_sign_timestamp_seconds", 4200) | STARTING | told("longest_step_seconds", 1), set()
    ),
    "resumed, no first step for 40 minutes, fast steps before": (
        told("last_sign_timestamp_seconds", 3000) | STARTING | told("longest_step_seconds", 1), {"RunNotStarted"}
    ),
    "failed": (told("status", "_x170 1+0x30", status="failed"), {"RunFailed"}),
    "interrupted": (told("status", "_x170 1+0x30", status="interrupted"), set()),
    "lost": (told("status", "_x170 1+0x30", status="lost"), {"RunLost"}),
    "the loss became NaN, and the run failed": (
        _events("not_finite", "0+0x170 1+0x30") | told("status", "_x170 1+0x30", status="failed")
        | told("status", "1+0x170 _x30", status="running") | told("training", "1+0x170 0+0x30"),
        {"LossNotFinite", "RunFailed"},
    ),
    "the loss became NaN an hour ago": (_events("not_finite", "0+0x60 1+0x140"), set()),
    "the loss rises": (trained("loss", "2.5+0x100 3.9+0x100"), {"LossRising"}),
    "the loss rises by half a nat": (trained("loss", "2.5+0x100 3.0+0x100"), set()),
    "the loss falls": (trained("loss", "11-0.05x200"), set()),
    "one bad step": (trained("loss", "2.5+0x160 9+0x1 2.5+0x38"), set()),
    "waits for data": (trained("data_wait_share", 0.4), {"DataWaitHigh"}),
    "waited for data, and is over": (trained("data_wait_share", 0.4) | trained("open", 0), set()),
    "saves all the time": (told("outside_steps_ratio", 0.5), {"TimeOutsideSteps"}),
    "a checkpoint failed": (_events("checkpoint_failed", "0+0x170 1+0x30"), {"CheckpointFailed"}),
    "a checkpoint failed an hour ago": (_events("checkpoint_failed", "0+0x60 1+0x140"), set()),
    "restarted three times": (_events("resumed", "0+0x100 1+0x29 2+0x29 3+0x41"), {"RunRestarting"}),
    "restarted once": (_events("resumed", "0+0x150 1+0x50"), set()),
    "goodput of 60%": (told("goodput_ratio", 0.6), {"GoodputLow"}),
    "4% of the disk left": (_storage(4e10), {"StorageFull"}),
    "6% of the disk left": (_storage(6e10), set()),
    "goodput of 75%": (told("goodput_ratio", 0.75), set()),
    "saves a fifth of the time": (told("outside_steps_ratio", 0.2), set()),
    "restarted twice": (_events("resumed", "0+0x100 1+0x29 2+0x70"), set()),
    "nobody watched for a minute": (_series("up", "1+0x100 0+0x2 1+0x100", TOLD, {}), set()),
    "nobody watches": (_series("up", 0, TOLD, {}), {"RunsNotWatched"}),
}  # fmt: skip
_OF_RL: dict[str, tuple[Series, set[str]]] = {
    "learning": ({}, set()),
    "the surrogate rises": (trained("loss", "0.1+0x100 3.0+0x100"), set()),
    "drift": (_events("drift", "0+0x165 1+0x9 2+0x26"), {"PolicyDrift"}),
    "drift an hour ago": (_events("drift", "0+0x60 1+0x140"), set()),
    "reward hacking": (_events("reward_hacking", "0+0x150 1+0x50"), {"RewardHacking"}),
    "reward hacking, told by the workers": (trained("heldout_alarm", "_x170 1+0x30"), {"RewardHacking"}),
    "always the same": (trained("entropy", 0.01), {"PolicyCollapsed"}),
    "always the same, and over": (trained("entropy", 0.01) | trained("open", 0), set()),
    "reward hacking two hours ago": (_events("reward_hacking", "0+0x10 1+0x190"), set()),
    "most prompts are mixed": (trained("mixed_groups", 0.8), set()),
    "all prompts right": (trained("mixed_groups", 0.0), {"NothingToLearn"}),
}
_OF_NODES: dict[str, tuple[Series, set[str]]] = {
    "node": ({}, set()),
    "node down": (node("up", "1+0x170 0+0x30"), {"NodeDown"}),
    "node gone from the list": (node("up", "1+0x170 _x30"), set()),
    "94% of a node's memory": (node("ray_node_mem_used", 15.1e9, ip="10.0.0.4"), {"NodeMemoryHigh"}),
    "80 °C": (node("ray_node_gpu_temperature_celsius", 80, **GPU), set()),
    "disk 85% full": (node("ray_node_disk_utilization_percentage", 85, ip="10.0.0.4"), set()),
    "node down for a minute": (node("up", "1+0x170 0+0x2 1+0x27"), set()),
    "87% of a node's memory": (node("ray_node_mem_used", 14e9, ip="10.0.0.4"), set()),
    "disk 95% full": (node("ray_node_disk_utilization_percentage", 95, ip="10.0.0.4"), {"NodeDiskFull"}),
    "spills": (node("ray_spill_manager_request_total", "0+0x100 0+5x100", Type="Spilled"), {"ObjectStoreSpilling"}),
    "spilled an hour ago": (node("ray_spill_manager_request_total", "0+5x60 300+0x140", Type="Spilled"), set()),
    "held and idle": (_gpu(3, 1), {"GpuIdleWhileHeld"}),
    "idle and free": (_gpu(3, 0), set()),
    "held, 20% used": (_gpu(20, 1), set()),
    "92 °C": (node("ray_node_gpu_temperature_celsius", 92, **GPU), {"GpuHot"}),
}  # fmt: skip
CASES = {
    f"{group}: {name}": (base | changes, firing)
    for group, base, cases in (
        ("run", TRAINING, _OF_RUNS), ("rl", LEARNING, _OF_RL), ("node", HEALTHY_NODE, _OF_NODES),
    )
    for name, (changes, firing) in cases.items()
}  # fmt: skip
"""What healthy runs and nodes report with what is different, and the alerts that fire after 90 minutes."""
