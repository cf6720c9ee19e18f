"""Configuration: recipes with all their settings, what Solon ships by name, and the strict YAML and JSON readers."""
