"""Traces: from a row back to all that it is made of, and from a principle forward to all that it changed.

A trace is a pure function of the run directory. It runs no model and makes nothing up: what no file says is left out,
or named as not known.
"""
