"""The report: one self-contained HTML file, a pure function of the run directory.

The report runs no model; it shows only what the run directory contains. The page loads nothing else, works without
JavaScript, and treats every text of a model, a data set or a constitution as hostile (see `page`).
"""

from solon.reporting.page import render, write

__all__ = ["render", "write"]
