"""The paper's own multiple-choice evaluations: files in, accuracies with intervals out (section 2, appendix B).

`questions` reads the files, `examples` brings worked examples, `asking` puts questions to a model without favouring a
letter, `figures` turns answers into accuracies and calibration, and `session` keeps it all durable in a folder.
"""
