"""Asking a model: texts and choices, whoever runs it."""
