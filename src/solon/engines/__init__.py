"""Engines: how Solon asks a model for texts and for choices between options."""
