"""The testbed: a micro world, its oracle, and how the two bundled models are made and measured."""
