"""Tiny models in the manner of the families that users bring, and what must hold on each of them."""
