"""OpenAI's Images API over our jobs, as the `openai` client speaks it (3.54, github.com/openai/openai-python)."""
