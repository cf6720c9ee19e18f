"""What people bring: prompts, dialogues and comparisons, from files in many forms or from datasets.

A source is read entry by entry, each with the place that a message can name; what is read becomes conversations, and
exact and near duplicates are found among them. Nothing here asks a model or knows a run.
"""
