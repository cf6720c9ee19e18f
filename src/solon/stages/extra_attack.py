"""Stage attack-NAME: automated red teaming of a policy, in rounds (`solon attack`).

The method is few-shot red teaming (Perez et al. 2022) as a loop. Round 0 tests human prompts. In each later round a
model writes prompts as `solon red-team` does: it goes on with a numbered list. The list shows prompts that the policy
failed in an earlier round, so that the model varies them; a stated share of the lists shows only human prompts, so that
new weaknesses can be found. What breaks a rule, or repeats an earlier or a human prompt exactly or nearly, is refused
(`solon.checks.red_team_rules`). The policy answers the others, a model scores the replies, and the prompts whose reply
fails are kept with their lineage. A grader may label the replies as well: its labels measure and select nothing.

Every request, reply and score is durable chunk by chunk, and depends on its items alone, so that a killed attack goes
on to the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solon.config.attack_settings import AttackSettings, ScoredBy
from solon.config.builtin import measure_questions_path
from solon.config.model_spec import ModelSpec
from solon.config.recipe import Recipe
from solon.evals.judged_answers import JudgeInputs
from solon.evals.reply_questions import read_reply_questions
from solon.runs import Artefact, StageFolder
from solon.runs.attack_facts import AttackFacts
from solon.runs.evaluation_rows import AttackOrigin, AttackRow
from solon.runs.facts import facts_record, read_facts
from solon.runs.files import write_atomically
from solon.runs.rows import PromptKind, PromptRow, good
from solon.stages.attack_figures import attack_facts, kept_rows, summary_lines
from solon.stages.attack_rounds import AttackInProgress, AttackInputs, AttackModels
from solon.stages.attack_scoring import ScoreReplies, by_judge, by_preference
from solon.stages.extra_red_team import (
    examples_in,
    nothing_kept,
    writer_of,
)
from solon.stages.plan import PREFERENCE_MODEL, PROMPTS, in_round, policies_of
from solon.stages.reply_judging import judge_of
from solon.stages.stage import Stage, StageDependencies, Work

KEPT_FILE = "prompts.jsonl"
"""The kept prompts, with score and lineage, as a source of prompts."""


def run(settings: AttackSettings, inputs: AttackInputs, models: AttackModels, out: StageFolder) -> Artefact:
    """Test human prompts, then write, test and keep for `settings.rounds` rounds; publish everything that was written.

    Raises StageError when too few human prompts can be shown, or when no round gives a prompt that passes the rules.
    """
    readable = good(inputs.prompts.rows(PromptRow))
    human = [row for row in readable if row.kind is PromptKind.RED_TEAM]
    attack = AttackInProgress(
        settings,
        inputs,
        models,
        out,
        examples_in(human, inputs.writing),
        [row.prompt for row in readable if row.kind is not PromptKind.HELPFUL],
    )
    attack.test_human(human)
    for number in range(1, settings.rounds + 1):
        attack.do_round(number)
    if not any(row.origin is AttackOrigin.MODEL and row.seed is not None for row in attack.rows):
        raise nothing_kept(attack.refused, out)
    return _publish(attack.rows, settings, inputs, models, out)


def _publish(
    rows: Sequence[AttackRow],
    settings: AttackSettings,
    inputs: AttackInputs,
    models: AttackModels,
    out: StageFolder,
) -> Artefact:
    kept = kept_rows(rows)
    if kept:
        write_atomically(out.path / KEPT_FILE, "".join(f"{line}\n" for line in map(_line, kept)))
    facts = attack_facts(rows, settings, inputs.policy, inputs.writer, models.graded_by)
    return out.publish(rows, AttackRow, facts=facts_record(facts), files=[KEPT_FILE] if kept else [])


def _line(row: AttackRow) -> str:
    """A kept prompt as a line of a prompt file; readers of prompts leave the further values out."""
    line: dict[str, Any] = {
        "prompt": row.prompt.messages(),
        "row_id": row.row_id,
        "round": row.round,
        "score": row.score,
        "generation": row.generation,
        "varied_from": list(row.varied_from),
    }
    return json.dumps(line, ensure_ascii=False)


@dataclass(frozen=True)
class Attack(Stage):
    """An extra stage: an attack on the last policy of the run, or on any other model."""

    needs = (PROMPTS,)
    given: AttackSettings = field(default_factory=AttackSettings)
    """The options of the command."""
    policy: ModelSpec | None = None
    """The attacked model; the last policy of the run when None."""
    called: str = ""
    """Its name in the figures."""

    def settings(self, recipe: Recipe) -> AttackSettings:
        return self.given

    def reads(self, work: Work) -> StageDependencies:
        """The writer, the policy, who scores, and the recipe's settings of writing and replying."""
        recipe = work.recipe
        more = {
            "red_team": recipe.red_team.model_dump(mode="json"),
            "replies": recipe.measure.sampling.model_dump(mode="json"),
            "grader": recipe.measure.grader,
        }
        return StageDependencies(
            {"writer": writer_of(work), "policy": self._policy(work), **self._scored_by(work)}, more
        )

    def run(self, work: Work, out: StageFolder) -> Artefact:
        recipe, policy = work.recipe, self._policy(work)
        inputs = AttackInputs(
            recipe.seed,
            work.artefact(PROMPTS),
            recipe.red_team,
            recipe.measure.sampling,
            self.called or policies_of(recipe)[-1],
            recipe.models.red_team or recipe.models.pretrained,
            recipe.engine.batch_size,
        )
        grader = work.grader
        models = AttackModels(
            lambda: work.engine(writer_of(work)),
            lambda: work.engine(policy),
            self._scores(work),
            (lambda: work.engine(work.assistant)) if self.given.compares else None,
            grader,
            recipe.measure.grader if grader is not None else None,
        )
        return run(self.given, inputs, models, out)

    def summary(self, facts: Mapping[str, Any]) -> Sequence[str]:
        return tuple(summary_lines(read_facts(AttackFacts, facts)))

    def _policy(self, work: Work) -> ModelSpec:
        return work.policy(policies_of(work.recipe)[-1]) if self.policy is None else self.policy

    def _scored_by(self, work: Work) -> dict[str, Path | ModelSpec]:
        recipe = work.recipe
        if self.given.scored_by is ScoredBy.PREFERENCE_MODEL:
            compared: dict[str, Path | ModelSpec] = {"reference": work.assistant} if self.given.compares else {}
            return {"scorer": _preference_model(work), **compared}
        return {
            "scorer": work.model(judge_of(recipe)),
            "questions about replies": measure_questions_path(recipe.measure.questions),
        }

    def _scores(self, work: Work) -> ScoreReplies:
        recipe = work.recipe
        if self.given.scored_by is ScoredBy.PREFERENCE_MODEL:
            return by_preference(lambda: work.scorer(_preference_model(work), centred=True))
        questions, judge = read_reply_questions(recipe.measure.questions), work.model(judge_of(recipe))
        return by_judge(JudgeInputs(lambda: work.engine(judge), questions, recipe.seed))


def _preference_model(work: Work) -> Path:
    """That of the last round."""
    return work.trained(in_round(PREFERENCE_MODEL, work.recipe.rounds))
