"""Solon: Constitutional AI from end to end."""

__version__ = "0.1.0"
