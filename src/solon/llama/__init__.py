"""Llama's layers on a processor, by hand: the numbers of transformers, with less traffic between them and memory.

Most small models are Llamas, and on a CPU the time of a pass is not in its matrix products alone: a good part goes into
moving what stands between them through memory, and into the calls themselves. Here a layer is fewer and larger
operations, its gradient is written out and keeps little (`layers`), and positions whose states nobody wants leave the
last layer early (`network`). Whatever is no small, plain Llama on a CPU is read through transformers' own modules.
"""
