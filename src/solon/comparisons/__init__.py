"""Comparisons of hidden models in conversations, by people, a model or an oracle, and the Elo that follows."""
