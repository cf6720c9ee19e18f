"""Reinforcement learning from a preference model: rollouts, advantages, PPO and RLOO."""
