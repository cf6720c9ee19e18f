"""The paper's baselines: a policy that learns only from human comparisons (Bai et al. 2022a; the paper, figure 2).

Helpful-only RLHF knows comparisons of helpfulness and helpfulness prompts, HH RLHF comparisons of harmlessness as well.
They go through the same preference model and the same reinforcement learning as RL-CAI, from another starting model,
so that only the source of feedback differs. There is no constitution, and no AI label.
"""

from __future__ import annotations

from solon.config.recipe import Algorithm, Method, NetworkSharing, Recipe
from solon.errors import RecipeError


def refuse_unusable_baseline(recipe: Recipe) -> None:
    """Raise RecipeError for settings that a run by human comparisons cannot use, before anything is spent."""
    if recipe.method is not Method.RLHF:
        return
    people = recipe.preference
    if not (people.human_helpfulness or people.human_harmlessness) or not people.human_weight:
        raise RecipeError(
            "method rlhf learns from human comparisons, and there are none",
            place="preference.human_helpfulness",
            remedy="Use --set preference.human_helpfulness=FILE, and a preference.human_weight above 0",
        )
    if recipe.rl.algorithm is Algorithm.DPO:
        raise RecipeError(
            "dpo learns from the pairs that a feedback model labels, and method rlhf has none",
            place="rl.algorithm",
            remedy="Use --set rl.algorithm=ppo or --set rl.algorithm=rloo",
        )
    if recipe.rl.networks is NetworkSharing.SHARED:
        raise RecipeError(
            "a shared backbone needs the adapters of SL-CAI, and method rlhf trains none",
            place="rl.networks",
            remedy="Use --set rl.networks=separate",
        )
    if recipe.rounds > 1:
        raise RecipeError(
            "further rounds need a feedback model that labels new pairs; people's comparisons are given once",
            place="rounds",
            remedy="Use --set rounds=1, or --set method=cai",
        )
