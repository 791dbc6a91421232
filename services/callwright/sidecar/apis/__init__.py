"""The APIs that clients may speak: chat completions, Anthropic's Messages and OpenAI's Responses."""

from callwright.sidecar.apis.base import Api
from callwright.sidecar.apis.chat_completions import ChatCompletions
from callwright.sidecar.apis.messages import Messages
from callwright.sidecar.apis.responses import Responses

__all__ = ["Api", "ChatCompletions", "Messages", "Responses"]
