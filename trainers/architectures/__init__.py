"""Models from scratch, one file a family: `Config` (its YAML keys) and `transformers_config`.

A file name in this folder is a value of `model.scratch`; a new family is a new file, and nothing else.
"""
