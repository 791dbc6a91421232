"""Callwright turns a small open LLM into one that calls tools well, and serves it behind an OpenAI endpoint."""

__version__ = "0.1.0"
