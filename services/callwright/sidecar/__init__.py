"""The tool-call sidecar: OpenAI tools in, dialect text upstream, `tool_calls` out."""
