"""Chat data: reading, rendering with the loss mask, checks, and the sampler."""
