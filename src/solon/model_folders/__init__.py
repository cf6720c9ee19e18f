"""Model folders: what is accepted of them (`check`, `headers`), and the only place that loads them (`load`).

A folder is data that somebody else may have written, so it is checked with plain Python before any library sees it, and
loaded without its code, without pickle and without the hub. Every refusal is one `ModelError` that names the folder.
"""
