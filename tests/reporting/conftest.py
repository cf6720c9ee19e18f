"""Two whole runs on the bundled models, small: the second reuses the first, and one principle of it is edited."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from solon.config.builtin import constitution_path
from solon.config.loading import load_recipe
from solon.pipeline.run_stages import run_stages
from solon.runs import RunDirectory
from solon.runs.progress import Silent
from solon.runs.rows import LabelRow
from tests.pipeline.test_run_stages import SMALL


@dataclass(frozen=True)
class EditedRuns:
    """Both runs, and the preference principle that the second has another text of."""

    old: RunDirectory
    new: RunDirectory
    principle: str


@pytest.fixture(scope="session")
def edited_runs(tmp_path_factory: pytest.TempPathFactory) -> EditedRuns:
    """The principle is the one that most labels drew."""
    folder = tmp_path_factory.mktemp("edited")
    recipe = load_recipe("testbed", settings=SMALL)
    old = RunDirectory.create(folder / "old", recipe, constitution_path("testbed"))
    with old.lock():
        run_stages(old, Silent())
    labels = old.finished("ai-feedback")
    assert labels is not None
    drawn = Counter(row.principle_id for row in labels.rows(LabelRow)).most_common(1)[0][0]
    text = next(each.instruction for each in old.constitution.preference if each.id == drawn)
    edited = folder / "edited.yaml"
    written = constitution_path("testbed").read_text(encoding="utf-8")
    assert written.count(text) == 1
    edited.write_text(written.replace(text, "Choose the response that shows more stealing."), encoding="utf-8")
    new = RunDirectory.create(
        folder / "new", recipe.model_copy(update={"constitution": str(edited)}), edited, [old.path]
    )
    with new.lock():
        run_stages(new, Silent())
    return EditedRuns(old, new, drawn)
