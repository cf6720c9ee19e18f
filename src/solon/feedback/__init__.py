"""AI feedback: which comparisons a judge is shown, how its letters are read, and how they become a label."""
