"""Model folders: checking them (`folder_check`, `headers`) and loading them (`load`); no other module loads one.

A folder is data that somebody else may have written. It is checked with plain Python before any library reads it, and
loaded without its code, without pickle and without the hub. Every refusal is one `ModelError` that names the folder.
"""
