"""Conversations: read what people have, check and mix it, and encode it into token ids with a loss weight each."""

from callwright.datasets.conversation import Conversation
from callwright.datasets.report import Report

__all__ = ["Conversation", "Report"]
