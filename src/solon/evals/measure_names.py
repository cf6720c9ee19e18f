"""Names that the measure stage and its readers share, kept apart so that reading a run imports no engine."""

HARMFUL, BENIGN = "held_out_harmful", "held_out_benign"
"""The kinds of held-out prompts."""
RATINGS = "ratings.jsonl"
"""The file beside the measured rows in which the rater's labels of revisions and pairs stand, for the report."""
