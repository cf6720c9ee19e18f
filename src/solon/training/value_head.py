"""A value function that is one linear layer on the last hidden states of the policy.

The layer is no part of the policy: it has its own optimiser, and a saved policy does not contain it. It begins at zero,
which is the value of an ordinary reply where scores are centred.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from solon.training.models import Trainable, unwrap_adapter


class ValueHead(nn.Linear):
    """Values of hidden states; of their gradient the backbone gets the share `coefficient`."""

    def __init__(self, model: Trainable, coefficient: float) -> None:
        """Make the layer for the last hidden states of this language model, on its device, in float32."""
        head = cast(Any, unwrap_adapter(model)).get_output_embeddings()
        super().__init__(head.weight.shape[1], 1, device=unwrap_adapter(model).device, dtype=torch.float32)
        self.coefficient = coefficient
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()

    def forward(self, hidden_NH: Tensor) -> Tensor:
        """The value of each state, shape (N)."""
        own_NH = hidden_NH.detach()
        if self.coefficient and hidden_NH.requires_grad:
            own_NH = own_NH.lerp(hidden_NH, self.coefficient)  # equal numbers, so only the gradient is scaled
        return super().forward(own_NH).squeeze(-1)
