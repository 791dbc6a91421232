"""Ray Serve around vLLM: each replica holds vLLM's own OpenAI application."""
