"""Distributed LoRA on Ray Train: encoded conversations and a base in, a PEFT adapter and a report out."""
