"""Hand a run on to a trainer for many GPUs: OpenRLHF, verl or TRL, by files alone.

Their pins exclude Solon's, so nothing of them is imported and nothing of Solon is needed by what is written: a folder
with the prompts, the policy to start from, the preference model, the reward as a Python file, the recipe's settings in
the trainer's own words, and a check that its machine reads all of this as Solon does.

`export_handoff` (`folder`) writes it. One small module for each trainer holds its vocabulary; what all of them get lies
in `files/`, word for word, and what is filled in per run in `templates/`.
"""
