"""Change a model: supervised finetuning, a preference model on soft labels, and PPO, on one small core."""
