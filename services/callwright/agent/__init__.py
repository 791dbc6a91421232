"""An agent: a client of an OpenAI endpoint that makes the calls of a model until it answers."""

from callwright.agent.conversation import AgentEvent, CallTool, ToolError, run

__all__ = ["AgentEvent", "CallTool", "ToolError", "run"]
