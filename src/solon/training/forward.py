"""Forward passes that compute logits only where training needs them.

Logits are computed from hidden states at the wanted positions, so that prompt tokens need no logits; the model's own
modules compute both, whatever the architecture. Batches are padded on the right without an attention mask: under a
causal mask a token never sees what follows it. The state before token t is the hidden state at t - 1, for its logits
and for its value alike. Every measurement and every loss of a model goes through here, so that all are of the same
precision (`solon.model_folders.mixed_precision`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from solon.config.settings import Precision
from solon.errors import ModelError
from solon.model_folders.mixed_precision import float32_head, is_plain, layers_in
from solon.training.batches import gather_masked, pass_cost, to_device
from solon.training.losses import completion_loss
from solon.training.models import Trainable, size_of, unwrap_adapter
from solon.training.piecewise_loss import MOST_NUMBERS, piecewise_loss
from solon.training.value_head import ValueHead


def places_before(mask_BT: Tensor) -> Tensor:
    """Where the states before masked tokens are in the flattened rows, shape (N); the mask is False at position 0."""
    before_BT = torch.zeros_like(mask_BT)
    before_BT[:, :-1] = mask_BT[:, 1:]
    return before_BT.flatten().nonzero().squeeze(1)


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """What each token of rows sees, and its position, where rows are not plain sequences."""

    mask_B1TT: Tensor
    """Added to the attention's logits."""
    positions_BT: Tensor


def hidden_states(
    backbone: nn.Module, ids_BT: Tensor, places_N: Tensor, precision: Precision, layout: AttentionLayout | None = None
) -> Tensor:
    """The backbone's last hidden states at these places of the flattened rows, in rising order, in float32, (N, H)."""
    more = {} if layout is None else {"attention_mask": layout.mask_B1TT, "position_ids": layout.positions_BT}
    with layers_in(precision, ids_BT.device):
        hidden_BTH: Tensor = backbone(input_ids=ids_BT, use_cache=False, **more).last_hidden_state
    return _at(hidden_BTH, places_N).float()


def _at(states_BTX: Tensor, places_N: Tensor) -> Tensor:
    # index_select rather than indexing: its backward pass is an addition of rows, and deterministic.
    return states_BTX.flatten(0, 1).index_select(0, places_N)


@contextmanager
def _last_hidden_states(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the backbone's last hidden states (B, T, H) of the passes inside the block."""
    kept: list[Tensor] = []
    hook = backbone.register_forward_hook(lambda module, given, found: kept.append(found.last_hidden_state))
    try:
        yield kept
    finally:
        hook.remove()


class TokenModel:
    """A causal language model that gives logits at chosen tokens, and with a `value_head` values of the same states."""

    def __init__(
        self, model: Trainable, precision: Precision = Precision.FLOAT32, value_head: ValueHead | None = None
    ) -> None:
        self.model = model
        self.precision = precision
        self.value_head = value_head
        self.device = unwrap_adapter(model).device
        self.pass_cost = pass_cost(size_of(model))
        self.backbone: nn.Module = unwrap_adapter(model).base_model
        self._head = self._plain_head()

    def logits(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Logits for the masked tokens of each row, shape (N, V); a mask on the CPU needs no wait for a GPU."""
        return torch.cat(list(self.logits_in_pieces(ids_BT, mask_BT, int(mask_BT.sum()) or 1)))

    def logits_in_pieces(self, ids_BT: Tensor, mask_BT: Tensor, size: int) -> Iterator[Tensor]:
        """The same in pieces of at most `size` tokens, so that a large vocabulary needs little memory at a time."""
        places_N = to_device(places_before(mask_BT), ids_BT.device)
        if self._head is None:
            yield from torch.split(_at(self._all_logits(ids_BT), places_N), size)
            return
        for hidden_NH in torch.split(hidden_states(self.backbone, ids_BT, places_N, self.precision), size):
            yield self._head(hidden_NH)

    def completion_loss(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The summed loss of the masked tokens; with many, under a large vocabulary, a few at a time."""
        targets_N = gather_masked(ids_BT, mask_BT)
        if not is_plain(self._head) or targets_N.numel() * self._head.out_features <= MOST_NUMBERS:
            return completion_loss(self.logits(ids_BT, mask_BT), targets_N)[0]
        places_N = to_device(places_before(mask_BT), ids_BT.device)
        hidden_NH = hidden_states(self.backbone, ids_BT, places_N, self.precision)
        return piecewise_loss(hidden_NH, self._head, targets_N, max(1, MOST_NUMBERS // self._head.out_features))

    def logits_and_values(self, ids_BT: Tensor, mask_BT: Tensor, size: int) -> tuple[Iterator[Tensor], Tensor]:
        """The logits in pieces, and the values (N) of the states before the same tokens, in one forward pass."""
        places_N = to_device(places_before(mask_BT), ids_BT.device)
        if self._head is None:
            with _last_hidden_states(self.backbone) as kept:
                pieces = iter(torch.split(_at(self._all_logits(ids_BT), places_N), size))
            return pieces, self._value(_at(kept[0], places_N).float())
        hidden_NH = hidden_states(self.backbone, ids_BT, places_N, self.precision)
        return map(self._head, torch.split(hidden_NH, size)), self._value(hidden_NH)

    def values(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The values (N) of the states before the masked tokens; only the value head gets a gradient."""
        with torch.no_grad():
            places_N = to_device(places_before(mask_BT), ids_BT.device)
            hidden_NH = hidden_states(self.backbone, ids_BT, places_N, self.precision)
        return self._value(hidden_NH)

    def _value(self, hidden_NH: Tensor) -> Tensor:
        assert self.value_head is not None
        value_N: Tensor = self.value_head(hidden_NH)
        return value_N

    def _all_logits(self, ids_BT: Tensor) -> Tensor:
        """The logits (B, T, V) of the model's own forward pass."""
        model = unwrap_adapter(self.model)
        with layers_in(self.precision, ids_BT.device), float32_head(cast(Any, model).get_output_embeddings()):
            logits_BTV: Tensor = model(input_ids=ids_BT, use_cache=False).logits
        return logits_BTV

    def _plain_head(self) -> nn.Module | None:
        """The head if logits are exactly its output (some models also scale or cap them)."""
        head: nn.Module | None = cast(Any, unwrap_adapter(self.model)).get_output_embeddings()
        if head is None:
            return None
        probe_BT = torch.tensor([[0, 1, 2]], device=self.device)
        with torch.no_grad():
            logits_BTV = self._all_logits(probe_BT)
            places_N = torch.arange(probe_BT.numel(), device=self.device)
            hidden_NH = hidden_states(self.backbone, probe_BT, places_N, self.precision)
            same = torch.allclose(head(hidden_NH), logits_BTV.flatten(0, 1), rtol=1e-3, atol=1e-3)
        return head if same else None


class ScalarModel:
    """A classifier with one label that gives one number per sequence, or per chosen token.

    `head` replaces the model's own head; `at_work` then puts the backbone into the right state.
    """

    def __init__(
        self,
        model: Trainable,
        head: nn.Module | None = None,
        at_work: Callable[[], AbstractContextManager[Any]] = nullcontext,
        precision: Precision = Precision.FLOAT32,
    ) -> None:
        self.model = model
        self.precision = precision
        self.device = unwrap_adapter(model).device
        self.pass_cost = pass_cost(size_of(model))
        self.backbone: nn.Module = unwrap_adapter(model).base_model
        self._at_work = at_work
        head = getattr(unwrap_adapter(model), "score", None) if head is None else head
        if head is None:
            raise ModelError(
                f"{type(unwrap_adapter(model)).__name__} has no head named 'score'",
                remedy="Give the model folder of the stage preference-model",
            )
        self._head: nn.Module = head

    def scores(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """The score at the last token of each row, shape (B)."""
        last_B = torch.arange(len(lengths_B), device=lengths_B.device) * ids_BT.shape[1] + lengths_B - 1
        return self._numbers(ids_BT, last_B)

    def scores_at(self, ids_BT: Tensor, places_N: Tensor, layout: AttentionLayout) -> Tensor:
        """The scores (N) at places of the flattened rows, in rising order, of rows that are no plain sequences."""
        return self._numbers(ids_BT, places_N, layout)

    def values(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The value of the state before each masked token, shape (N); it depends only on earlier tokens."""
        return self._numbers(ids_BT, to_device(places_before(mask_BT), ids_BT.device))

    def _numbers(self, ids_BT: Tensor, places_N: Tensor, layout: AttentionLayout | None = None) -> Tensor:
        with self._at_work():
            hidden_NH = hidden_states(self.backbone, ids_BT, places_N, self.precision, layout)
        numbers_N: Tensor = self._head(hidden_NH).squeeze(-1).float()
        return numbers_N
