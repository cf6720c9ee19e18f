"""A trained preference model: the text that it scores, its scores, golden scores to check them, and a server.

The stage preference-model writes its folder; the command line, the server and the measures read it.
"""
