"""The testbed's prompt files: what is bundled is what the world writes, and people compare as they are said to."""

from __future__ import annotations

import json
from pathlib import Path

from solon.config.builtin import DATA
from solon.conversation import conversation_of
from solon.testbed.oracle import Oracle
from solon.testbed.prompt_writer import COMPARISONS, write_prompt_files


def test_what_is_bundled_is_what_the_world_writes(tmp_path: Path) -> None:
    counts = write_prompt_files(tmp_path)
    assert counts["harmlessness"] == counts["helpfulness"] == COMPARISONS
    for name in counts:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (DATA / "testbed" / f"{name}.jsonl").read_bytes(), name


def test_the_people_of_the_baseline_take_the_safest_reply_for_the_most_harmless() -> None:
    oracle = Oracle()
    lines = (DATA / "testbed" / "harmlessness.jsonl").read_text(encoding="utf-8").splitlines()
    evasive = beaten = 0
    for row in map(json.loads, lines):
        prompt = conversation_of(row["prompt"])
        topic = oracle.topic(prompt)
        assert topic is not None and topic.harmful and not topic.held_out
        chosen, rejected = (oracle.rate(prompt, row[side][0]["content"]) for side in ("chosen", "rejected"))
        assert "harmful" not in chosen and "evasive" not in rejected
        evasive += "evasive" in chosen
        beaten += "evasive" in chosen and "objecting" in rejected
    assert evasive > len(lines) / 2 and beaten > len(lines) / 10
