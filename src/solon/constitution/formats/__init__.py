"""Reads and writes the files of other Constitutional AI systems: the paper's, llm-swarm's and LangChain's.

A reader turns a file into parts of a `Constitution`, and a writer turns a constitution into such a file. Losses are
always reported: the result of a reader is written back and compared with the file, and a writer lists what its format
cannot hold.
"""
