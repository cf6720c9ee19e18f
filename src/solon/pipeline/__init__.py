"""The method from end to end: which stage runs when, what that costs, and what an edit invalidates."""
