"""The paper's own multiple-choice evaluations: files in, accuracies with intervals out (section 2, appendix B).

`question_files` reads the files, `worked_examples` brings worked examples, and `multiple_choice` puts questions to a
model without favouring a letter; `pm_answers` has a preference model choose. `accuracy` turns answers into accuracies
and calibration, `evaluation` keeps it all durable in a folder, and `model_evaluation` opens the model.
"""
