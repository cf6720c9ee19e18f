"""What a session tells of a model that it loads."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.engines.tiny import byte_tokenizer, model_of

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.pipeline.session import Session
from solon.runs import RunDirectory
from solon.runs.progress import Silent


class Heard(Silent):
    """Keeps the remarks."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def remark(self, line: str) -> None:
        """See `Display`."""
        self.lines.append(line)


@pytest.mark.parametrize(("memory", "told"), [("0.001", 1), ("1", 0)])
def test_the_memory_for_prompts_is_told_once_where_it_may_be_the_bound(tmp_path: Path, memory: str, told: int) -> None:
    model_of("llama").save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    recipe = load_recipe("testbed", settings=[f"engine.memory_gib={memory}", "engine.window=160"])
    run = RunDirectory.create(tmp_path / "run", recipe, constitution_path("testbed"))
    display = Heard()
    session = Session(run, display)
    for _ in range(2):
        session.engine(tmp_path / "model")
    assert len(display.lines) == told
    assert all("engine.memory_gib" in line for line in display.lines)
