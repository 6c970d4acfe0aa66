"""Reinforcement learning: rewards, distance from the reference, exploration, sampler and learner."""

from __future__ import annotations

from cluster.monitoring.dashboard import Dashboard, Variable
from cluster.monitoring.dashboards.training import chart, trained

_BESIDE = "{{run}}"
_REWARDS = (
    chart("Reward", "short", (trained("reward"), _BESIDE), (trained("heldout_reward"), "{{run}} held out")),
    chart("Win rate", "percentunit", (trained("heldout_win_rate"), _BESIDE),
          description="Share of held-out prompts answered better than before training; ties are halves."),
    chart("Mixed groups", "percentunit", (trained("mixed_groups"), _BESIDE),
          description="Share of prompts whose completions differ in reward: only they teach."),
    chart("Alarm", "short", (trained("heldout_alarm"), _BESIDE), width=12,
          description="1 once training reward and held-out reward have parted."),
    chart("Completions", "short", (trained("length"), "{{run}} tokens"), width=6),
    chart("Ended by themselves", "percentunit", (trained("ended"), _BESIDE), width=6),
)  # fmt: skip
_POLICY = (
    chart("KL from the reference", "short", (trained("kl"), "{{run}} a token"),
          (trained("kl_completion"), "{{run}} a completion"), description="Nats."),
    chart("KL coefficient", "short", (trained("kl_coefficient"), _BESIDE)),
    chart("Entropy", "short", (trained("entropy"), _BESIDE), description="Nats; near 0 nothing new is tried."),
    chart("Clipped", "percentunit", (trained("clip_share"), _BESIDE)),
    chart("Gradient norm", "short", (trained("grad_norm"), _BESIDE)),
    chart("Surrogate loss", "short", (trained("loss"), _BESIDE), description="Tells of no progress."),
)  # fmt: skip
_SAMPLER = (
    chart("Drift", "short", (trained("drift"), _BESIDE),
          description="Mean |Δ log p| between sampler and learner, nats a token."),
    chart("Staleness", "short", (trained("staleness"), _BESIDE),
          description="Rounds by which the weights that wrote were older than those trained."),
    chart("Waiting for rollouts", "percentunit", (trained("data_wait_share"), _BESIDE),
          description="The samplers' share of a step's time."),
    chart("Sending weights", "s", (trained("sync_s"), _BESIDE)),
    chart("Size of what is sent", "bytes", (trained("sync_bytes"), _BESIDE)),
    chart("Tokens per second", "short", (trained("tokens_per_s"), _BESIDE)),
)  # fmt: skip

DASHBOARD = Dashboard(
    uid="raysmith-rl",
    title="Raysmith: reinforcement learning",
    variables=(Variable("run", "label_values(ray_raysmith_train_reward, run)"),),
    rows=(("Rewards", _REWARDS), ("Policy", _POLICY), ("Sampler and learner", _SAMPLER)),
)
