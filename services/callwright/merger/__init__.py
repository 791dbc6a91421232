"""Adapter and base become one model version in the store: planned, streamed, verified, whole or not at all."""

from callwright.merger.merging import Inputs, merge, read_inputs

__all__ = ["Inputs", "merge", "read_inputs"]
