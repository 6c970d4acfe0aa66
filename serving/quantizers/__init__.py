"""Quantizers, one file each: `Config` and `quantize`. A file name here is a value of `quantize.method`."""
