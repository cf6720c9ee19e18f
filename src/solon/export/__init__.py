"""What leaves a run: model folders with their cards, and folders for other trainers."""
