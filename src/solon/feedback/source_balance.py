"""How much human comparisons weigh against AI labels in the loss of the preference model.

The loss of a pair with score difference d and label p is -log sigmoid(d) + (1 - p) d, and its derivative by d is
sigmoid(d) - p (`solon.training.losses.preference_loss`). Before training d is near 0, so a pair of weight w pulls its
scores apart with the force w |p - 1/2|, and the *pull* of a source is the sum of that over its pairs. People's choices
count as certain, so each pulls with 1/2. A label that is clamped to 0.4-0.6 pulls with 0.1 at most.

Two sources compete wherever the model does not tell their prompts apart, as on topics that it has not seen. People who
prefer help with harmless requests to a refusal pull towards help there, a feedback model that prefers an objection to
help with harm pulls towards objections, and the stronger one wins. On the testbed 600 human comparisons pull with 300.
The 390 reasoned labels of a run (seed 1) pull with 86, with 26 when they are clamped to 0.4-0.6, and letters that are
read at once, which lie 0.033 from one half in the mean, with 13. That is why the preference model of such labels turns
them round although nine in ten are right.

`weight` makes the sums of weights equal: each comparison counts, whatever its label. `pull` makes the pulls equal: if
P_ai and P_human are the pulls at weight 1, the weight of each human comparison is P_ai / P_human (0.29, 0.09 and 0.04
above). The loss of a batch is divided by the sum of its weights, so that a weight counts among the pairs of a batch: in
batches of 32 pairs 0.29 acts as 0.30, in batches of 8 as 0.34, and in batches of one pair as 1.

Equal pulls are equal at the start only. A soft label stops pulling when its probability is met, at d = log(p/(1 - p)),
which is 0.4 for a label of 0.6, and a certain one never does: people's differences grow to 5 and more, and what of
that spreads to other prompts outweighs 0.4. Smaller weights only delay it. `preference.human_certainty` mends it: a
choice that counts as 0.6 stops where a clamped label stops.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from solon.config.recipe import Balance, PreferenceSettings
from solon.errors import RecipeError
from solon.feedback.preference_examples import AI, Labelled


def refuse_lone_weights(settings: PreferenceSettings) -> None:
    """Raise RecipeError for weights that change nothing, because a batch has a single pair."""
    brought = settings.human_helpfulness or settings.human_harmlessness
    weighed = settings.balance is not Balance.OFF or settings.human_weight not in (0, 1)
    if brought and weighed and settings.training.batch_size == 1:
        raise RecipeError(
            "human comparisons have a weight of their own, and in batches of one pair it changes nothing",
            place="preference.training.batch_size",
            remedy="Use --set preference.training.batch_size=16",
        )


def pull(labelled: Iterable[Labelled]) -> float:
    """The sum of |p - 1/2|."""
    return math.fsum(abs(each.p_chosen - 0.5) for each in labelled)


def human_factor(labelled: Iterable[Labelled], balance: Balance) -> float:
    """By what the weight of every human comparison is multiplied; 1 where one of the two sides has nothing to balance.

    Held-out pairs are counted too: prompts are held out by chance, whoever compared.
    """
    pairs = list(labelled)
    sides = [each for each in pairs if each.source == AI], [each for each in pairs if each.source != AI]
    match balance:
        case Balance.OFF:
            return 1.0
        case Balance.WEIGHT:
            ai, human = map(float, map(len, sides))
        case Balance.PULL:
            ai, human = map(pull, sides)
    return ai / human if ai and human else 1.0
