"""Serve a trained model to other programs."""
