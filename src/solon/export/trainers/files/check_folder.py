"""Checks this folder on the machine that trains, with its package versions; exits with 1 when anything differs.

It computes the golden scores of the preference model again: with plain transformers, and with `reward.py` from the
conversations. It also renders and tokenizes the golden prompts with the policy's tokenizer and chat template.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import reward  # noqa: E402  # in the same folder

TOLERANCE = 1e-4
"""Larger than the rounding of float32 sums in another order; relative for scores beyond 1."""


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def largest_difference(found: Iterable[float], golden: Iterable[float]) -> float:
    """The greatest difference, relative to scores beyond 1; not-a-number counts as infinitely far."""
    gaps = [abs(one - other) / max(1.0, abs(other)) for one, other in zip(found, golden, strict=True)]
    return max(gap if gap == gap else float("inf") for gap in gaps)


def weights_are_the_same(golden: Sequence[dict[str, Any]]) -> bool:
    """Whether the classifier gives the golden scores for the golden tokens."""
    gap = largest_difference(
        reward.FolderScorer(HERE / "preference-model").raw([row["input_ids"] for row in golden]),
        [row["score"] for row in golden],
    )
    print(f"preference model, {len(golden)} golden scores: largest difference {gap:.1e}")
    return gap <= TOLERANCE


def rewards_are_the_same(golden: Sequence[dict[str, Any]]) -> bool:
    """Whether `reward.py` gives the golden scores for the golden conversations, and subtracts the penalty."""
    prompts = [row["messages"][:-1] for row in golden]
    replies = [row["messages"][-1]["content"] for row in golden]
    passed = True
    for finished, penalty in ((True, 0.0), (False, float(reward.SETTINGS["missing_eos_penalty"]))):
        # A reply that writes another speaker's turn is cut, and then another text is scored than the golden one.
        kept = [number for number, reply in enumerate(replies) if reward.cut(reply) == (reply.strip(), False)]
        wanted = [golden[number]["score"] - reward.SETTINGS["centre"] - penalty for number in kept]
        found = reward.rewards([prompts[n] for n in kept], [replies[n] for n in kept], [finished] * len(kept))
        gap = largest_difference(found, [reward.clipped(each) for each in wanted]) if kept else float("inf")
        name = "finished" if finished else "cut at their limit"
        print(f"reward.py ({reward.SETTINGS['mode']}), {len(kept)} replies {name}: largest difference {gap:.1e}")
        passed = passed and gap <= TOLERANCE
    return passed


def prompts_are_read_the_same(golden: Sequence[dict[str, Any]]) -> bool:
    """Whether the policy's chat template and tokenizer give the golden texts and tokens."""
    tokenizer: Any = AutoTokenizer.from_pretrained(HERE / "policy", local_files_only=True, trust_remote_code=False)
    texts = [
        tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, tokenize=False) for row in golden
    ]
    same: int = sum(
        text == row["text"] and list(tokenizer(text, add_special_tokens=False)["input_ids"]) == row["input_ids"]
        for text, row in zip(texts, golden, strict=True)
    )
    print(f"policy, {len(golden)} golden prompts: {same} read the same")
    return same == len(golden) > 0


def main() -> int:
    """Print the differences; returns 0 when all are within the tolerance, else 1."""
    scores = rows_in(HERE / "preference-model" / "golden_scores.jsonl")
    found = [
        weights_are_the_same(scores),
        rewards_are_the_same(scores),
        prompts_are_read_the_same(rows_in(HERE / "prompts" / "golden_prompts.jsonl")),
    ]
    print("passed" if all(found) else "FAILED: do not train with this folder on this machine")
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
