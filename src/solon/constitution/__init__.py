"""Constitutions: principles, worked examples, reading and writing them, and what an edit changed."""
