"""verl's reward manager, told whether each reply was finished.

verl 0.9.1 gives a reward function the decoded reply without special tokens, from which it cannot be seen whether the
reply ended or ran into its limit. This manager looks at the token ids and leaves the rest to verl's own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

ENDS = frozenset(json.loads((Path(__file__).resolve().parent / "reward.json").read_text(encoding="utf-8"))["end_ids"])


class FinishedRewardManager(NaiveRewardManager):  # type: ignore[misc]  # verl is not installed where types are checked
    """Adds `finished` to each row's `extra_info`: whether the last token of the reply is an end token."""

    async def run_single(self, data: Any) -> dict[str, Any]:
        """See verl's `RewardManagerBase`."""
        item = data[-1:][0]
        response_T = item.batch["responses"]
        length = int(item.batch["attention_mask"][-response_T.shape[-1] :].sum())
        item.non_tensor_batch["extra_info"]["finished"] = length > 0 and int(response_T[length - 1]) in ENDS
        return dict(await super().run_single(data))
