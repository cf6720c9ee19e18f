"""Pages of the documentation that are made from the code: recipe, commands, tables, Python API.

Each module turns one part of `solon` into Markdown, as a pure function. `scripts/mkdocs_hooks.py` adds the pages to the
site while it is built, so no generated page is committed and none can be out of date.
"""
