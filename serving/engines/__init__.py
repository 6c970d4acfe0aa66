"""Engines, one file each: `Config` and `Engine`. A file name here is a value of `serve.engine`."""
