"""Training: models, data, objectives, adapters, the DeepSpeed loop under Ray Train. Never imports serving."""
