"""Data as training reads it: token shards, the sampler, packed rows, the thread that prepares batches; chat files."""
