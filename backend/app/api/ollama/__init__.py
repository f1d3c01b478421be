"""Ollama's API below `/api`: models, `generate` and `chat`, streamed as a JSON object a line."""
