"""The report: one self-contained HTML file, a pure function of the run directory.

Nothing imports the report but the command line, and it asks no model: what it shows is what the run directory holds.
The page loads nothing from anywhere, works without JavaScript, and treats every text of a model, a data set or a
constitution as hostile (see `page`).
"""

from solon.reporting.page import render, write

__all__ = ["render", "write"]
