"""Export the RL stage of a run to TRL: a folder that trains where Solon is not installed.

`export_for_trl` (`trainer_folder`) writes prompts, the policy, the preference model, the reward as a Python file, TRL's
settings, a launch script, and a script that checks that the machine reads all of this as Solon does. Files in `files/`
are copied as they are, those in `templates/` are filled in for a run. docs/trainers.md describes how to use the same
folder with OpenRLHF and verl.
"""
