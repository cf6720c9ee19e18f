"""A preference model as a folder that others can use: the text it scores, its scores, and golden ones to check them by.

The stage that trains it writes the folder; the command line, the server and the measures read it.
"""
