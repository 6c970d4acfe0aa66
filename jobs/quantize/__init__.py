"""Quantization as a stage of a job: several methods, measured side by side, and a gate before anything is published."""
