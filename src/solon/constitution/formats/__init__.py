"""The files of other Constitutional AI systems, read and written: the paper's, llm-swarm's and LangChain's.

A reader turns a file into parts of a `Constitution`; a writer turns a constitution into such a file. What one side can
say and the other cannot is never dropped in silence: every reader's result is written back and compared with the file,
and what differs is told by name; every writer names what its format has no place for.
"""
