"""What is measured: intervals, ratings, the measure stage and its results."""
