"""What a judge is asked about refusals, evasions and boilerplate: yes-or-no questions, from a file.

They stand in `data/refusals/refusals.yaml`, apart from those of stage 09-measure, whose answers must not change. The
pydantic models below are the schema of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from solon.config.builtin import refusal_questions_path
from solon.config.located_yaml import Scalars, YamlFile
from solon.config.settings import Settings
from solon.config.validation import validated
from solon.errors import RecipeError
from solon.evals.reply_questions import QuestionText, ReplyQuestions
from solon.runs.rows import HELD_OUT_KINDS

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _AboutRefusals(Settings):
    refusing: QuestionText
    evasive: QuestionText
    boilerplate: QuestionText


class _RefusalFile(Settings):
    name: _Text
    questions: _AboutRefusals


def read_refusal_questions(name: str | Path) -> ReplyQuestions:
    """The questions of a built-in name or a YAML file; raises RecipeError with `file:line` and the key at fault."""
    values, places = YamlFile(refusal_questions_path(name), RecipeError).read(scalars=Scalars.AS_WRITTEN)
    found = validated(_RefusalFile, values, places)
    asked = tuple(question.about(label) for label, question in found.questions)
    return ReplyQuestions(found.name, dict.fromkeys(HELD_OUT_KINDS, asked), {})
