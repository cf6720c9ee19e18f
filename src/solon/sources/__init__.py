"""The user's data: prompts, dialogues and comparisons, from files in many forms or from datasets.

A source is read row by row, each with its place for messages. Rows become conversations, and exact and near duplicates
among them are found. Nothing here asks a model.
"""
