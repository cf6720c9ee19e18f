"""`make bench`: Solon beside other programs, on the same weights, prompts, lengths, threads and dtype.

`works` lists what is measured. Each contestant is a process of its own (`benchmarks.peers` for other programs, the
modules `solon_*` here for Solon) that is loaded once and works when it is told to, so that repeats alternate. `page`
writes docs/performance.md from the results.
"""
