"""The agent loop: a client that lets a model call tools until it answers. Knows the OpenAI protocol only."""

from callwright.agent.loop import CallTool, Step, run

__all__ = ["CallTool", "Step", "run"]
