"""Reads conversations, checks and mixes them, and encodes them as token ids with a loss weight each."""

from callwright.datasets.conversation import Conversation
from callwright.datasets.report import Report

__all__ = ["Conversation", "Report"]
