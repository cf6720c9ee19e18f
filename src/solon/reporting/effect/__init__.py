"""What an edit of the constitution changed: two runs by one recipe, stage by stage, row by row.

All of it is a pure function of the two run directories. No model is asked.
"""
