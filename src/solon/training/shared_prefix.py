"""A pair as one row: the tokens that its two replies begin with alike, once, then the rest of each reply.

A mask keeps the two rests from seeing each other, and both have the positions that follow the common tokens, so each
reply is read as it is by itself (prefix sharing; Wang and Hegde 2024, arXiv 2410.20305). Layers read the prompt once
instead of twice; attention under such a mask computes all of a row's tokens by tokens, which is more than causal rows
need where prompts are short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.errors import ModelError
from solon.training.batches import PAD_ID, PairExample, pad_right, to_device
from solon.training.forward import AttentionLayout, ScalarModel
from solon.training.models import unwrap_adapter

_TOLERANCE = 1e-3
_PROBE = ((1, 2, 3, 4, 3, 2), (1, 2, 3, 1, 2))


@dataclass(frozen=True, slots=True)
class SharedPrefixPair(PairExample):
    """A pair that is read as one row; `prefix` is how many tokens both replies begin with."""

    prefix: int

    @property
    def length(self) -> int:
        """Tokens of the row."""
        return len(self.chosen) + len(self.rejected) - self.prefix

    @property
    def tokens(self) -> int:
        """Tokens read in a pass; equals `length`, as both replies are one row."""
        return self.length


def as_one_row(pair: PairExample) -> SharedPrefixPair:
    """The same pair, to be read as one row; the last token of each reply is its own, since a score is read there."""
    if isinstance(pair, SharedPrefixPair):
        return pair
    most = min(len(pair.chosen), len(pair.rejected)) - 1
    alike = zip(pair.chosen[:most], pair.rejected[:most], strict=True)
    prefix = next((place for place, (one, other) in enumerate(alike) if one != other), most)
    return SharedPrefixPair(
        pair.row_id, pair.chosen, pair.rejected, pair.p_chosen, pair.weight, pair.source, prefix=prefix
    )


def pair_scores(model: ScalarModel, rows: Sequence[SharedPrefixPair]) -> tuple[Tensor, Tensor]:
    """The scores of the chosen and of the rejected replies, each of shape (B)."""
    ids_BT = pad_right([row.chosen + row.rejected[row.prefix :] for row in rows], PAD_ID, model.device)
    prefixes, firsts, longest = [row.prefix for row in rows], [len(row.chosen) for row in rows], ids_BT.shape[1]
    ends = [each for row in rows for each in (len(row.chosen) - 1, row.length - 1)]
    places_N = torch.tensor([(n // 2) * longest + end for n, end in enumerate(ends)])
    layout = _attention_layout(prefixes, firsts, longest, model.device)
    scores_N = model.scores_at(ids_BT, to_device(places_N, model.device), layout)
    chosen_B, rejected_B = scores_N.view(-1, 2).unbind(1)
    return chosen_B, rejected_B


def _attention_layout(
    prefixes: Sequence[int], firsts: Sequence[int], longest: int, device: torch.device
) -> AttentionLayout:
    """Positions, and what each token sees, in rows of a prefix, the rest of the first reply and that of the second."""
    place_T = torch.arange(longest)
    prefix_B1, first_B1 = torch.tensor(prefixes).unsqueeze(1), torch.tensor(firsts).unsqueeze(1)
    second_BT = place_T >= first_B1
    positions_BT = torch.where(second_BT, place_T - first_B1 + prefix_B1, place_T)
    rest_of_first_BT = (place_T >= prefix_B1) & ~second_BT
    sees_BTT = (place_T <= place_T.unsqueeze(1)) & ~(second_BT.unsqueeze(2) & rest_of_first_BT.unsqueeze(1))
    hidden = torch.finfo(torch.float32).min
    mask_B1TT = torch.zeros(sees_BTT.shape).masked_fill(~sees_BTT, hidden).unsqueeze(1)
    return AttentionLayout(to_device(mask_B1TT, device), to_device(positions_BT, device))


def refuse_other_scores(model: ScalarModel, rows: Sequence[SharedPrefixPair]) -> None:
    """Raise ModelError when the model does not score a pair in one row as it scores each reply by itself."""
    config = unwrap_adapter(model.model).config.get_text_config()
    reach = min((n for name in _REACHES if (n := getattr(config, name, None))), default=None)
    longest = max((row.length for row in rows), default=0)
    if reach is not None and longest > reach:
        raise ModelError(
            f"a pair of {longest} tokens is longer than the {reach} tokens that some layers of the model see",
            place=_PLACE,
            remedy=_REMEDY,
        )
    pair = as_one_row(PairExample("", *_PROBE, p_chosen=1.0, weight=1.0, source=""))
    ids_BT = pad_right(_PROBE, PAD_ID, model.device)
    lengths_B = to_device(torch.tensor([len(each) for each in _PROBE]), model.device)
    with torch.no_grad():
        apart_B = model.scores(ids_BT, lengths_B)
        try:
            together_B = torch.cat(pair_scores(model, [pair]))
        except (TypeError, ValueError, RuntimeError):  # it takes no such mask or no positions
            together_B = torch.full_like(apart_B, torch.nan)
    tolerance = _TOLERANCE * max(1.0, float(apart_B.abs().max()))
    if not torch.allclose(apart_B, together_B, rtol=0, atol=tolerance):
        name = type(unwrap_adapter(model.model)).__name__
        raise ModelError(f"{name} cannot read a pair as one row", place=_PLACE, remedy=_REMEDY)


_REACHES = ("sliding_window", "attention_chunk_size", "window_size")
_PLACE = "preference.pairs"
_REMEDY = "Use --set preference.pairs=separate"
