"""The absolute harmfulness score: a model that predicts people's ratings, and the scores of models by it (section 5).

People rate whole red-team conversations from 0 to 4. A language model with a scalar head learns these ratings by an L2
loss, and then scores the replies of other models to held-out red-team prompts. It measures, and no stage that trains
asks it. `rating_model` trains it, `rating_figures` compares predictions with ratings, `harmfulness_scorer` reads it,
and `absolute_score` measures models.
"""
