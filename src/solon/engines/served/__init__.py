"""Models behind servers that speak the OpenAI wire format: completions and chats."""
