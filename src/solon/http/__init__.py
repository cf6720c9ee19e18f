"""The client for servers: one layer of retries, deadlines, adaptive concurrency, several addresses, and budgets."""
