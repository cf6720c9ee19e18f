"""The testbed: a micro world, its oracle, and the training and evaluation of the two bundled models."""
