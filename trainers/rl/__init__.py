"""Reinforcement learning on the training loop: rollouts by sampler actors, rewards, advantages, weight sync."""
