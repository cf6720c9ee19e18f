"""The version of Solon, which runs, exports and caches record; `solon.__version__` is the same string.

It has a module of its own, so that code below the public API reads it without importing `solon`.
"""

from __future__ import annotations

__version__ = "0.1.0"
