"""The HTTP server of a preference model."""
