"""Evaluations in a folder: durable, resumable, never mixed.

    OUT/
        lock                               held by the process at work
        438hhhevaluations-letter/          one file in one form, a stage folder: rows.parquet, manifest.json
        results.json                       all figures of all finished evaluations

Every evaluation is keyed by the file's bytes, the model, the form and the worked examples. A finished one is kept and
an interrupted one goes on where it stopped, so a folder can be filled form by form; other settings under the same name,
or another model, are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from solon.config.recipe import FeedbackForm
from solon.constitution.constitution import Constitution
from solon.digest import digest, digest_file, uniform_for
from solon.engines import rounding
from solon.engines.base import Engine
from solon.errors import InputError, ModelError, RunError
from solon.evals.benchmarks.accuracy import figures, judged
from solon.evals.benchmarks.multiple_choice import Form, QuestionSetup, ask_choices
from solon.evals.benchmarks.pm_answers import Scores, ask_scores
from solon.evals.benchmarks.question_files import Question, QuestionFile, TaskType
from solon.evals.benchmarks.worked_examples import Worked, worked_for
from solon.runs import Artefact, begin_folder, finished_folder
from solon.runs.evaluation_rows import ChoiceAnswer, EvaluationRow
from solon.runs.executor import Executor, InProcess
from solon.runs.facts import EvaluationFacts, EvaluationSetup, read_facts
from solon.runs.files import refuse_special_files, reporting_write_errors, sweep, write_atomically
from solon.runs.interrupt import StopRequest, catching_signals
from solon.runs.lock import LOCK, locked
from solon.runs.manifest import MANIFEST
from solon.runs.outcome import Outcome
from solon.runs.progress import Display
from solon.runs.stage_folder import clear_work

RESULTS = "results.json"
CODE = 2
"""The version of this code; raised with every change that gives other answers or figures to the same questions."""
CHUNK = 16
"""Questions that are made durable together."""


class AnswersAs(StrEnum):
    """In which of the paper's two formulations a model answers (section 2)."""

    MULTIPLE_CHOICE = "multiple-choice"
    PREFERENCE_MODEL = "preference-model"


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that is evaluated: its name with the hash of its folder, and how to load it, which is done once."""

    name: str
    answers_as: AnswersAs
    load_engine: Callable[[], Engine] | None = None
    load_scores: Callable[[], Scores] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    """What of the engine's settings can change an answer."""
    executor: Executor = field(default_factory=InProcess)
    """What works on the chunks."""


@dataclass(frozen=True, slots=True)
class Task:
    """One file in one form."""

    file: QuestionFile
    answers_as: AnswersAs
    manner: QuestionSetup
    worked: Worked

    @property
    def form(self) -> str:
        """The form's name, or the formulation's where there are no forms."""
        return self.manner.form.value if self.answers_as is AnswersAs.MULTIPLE_CHOICE else self.answers_as.value

    @property
    def name(self) -> str:
        """The folder's name: letters, digits and hyphens, whatever the file is called."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.file.name.lower()).strip("-") or "evaluation"
        return f"{plain}-{self.form}"


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is asked: files, in which forms, with how many worked examples."""

    files: Sequence[QuestionFile]
    forms: Sequence[Form]
    manner: QuestionSetup
    examples: int
    constitution: Constitution

    def tasks(self, answers_as: AnswersAs) -> list[Task]:
        """Every file in every form; raises InputError for a file that the model cannot answer, or a repeated name."""
        found = []
        for file in self.files:
            if answers_as is AnswersAs.PREFERENCE_MODEL:
                _refuse_classification(file)
                found.append(Task(file, answers_as, replace(self.manner, samples=1), Worked()))
                continue
            for form in dict.fromkeys(self.forms):
                reasoned = form is Form.REASONED
                samples = self.manner.samples if reasoned else 1
                count = 0 if form is Form.LETTER else self.examples
                shown = FeedbackForm.REASONED if reasoned else FeedbackForm.LETTER
                worked = worked_for(file, shown, count, self.constitution, self.manner.seed)
                found.append(Task(file, answers_as, replace(self.manner, form=form, samples=samples), worked))
        names = [task.name for task in found]
        for task in found:
            if names.count(task.name) > 1:
                raise InputError(
                    f"two files would share the folder '{task.name}'",
                    place=str(task.file.path),
                    remedy="Rename one of them, or evaluate them with another --out",
                )
        return found


def evaluate(out: Path, subject: Subject, tasks: Sequence[Task], display: Display) -> dict[str, Any]:
    """Answer every task that is not finished in the folder `out`; returns and writes the figures of all that are.

    Raises RunError when the folder holds something else, another model's evaluations or other settings, and
    Interrupted when asked to stop.
    """
    stop = StopRequest()
    with _working_in(out, stop):
        _refuse_other_model(out, subject.name)
        loaded: list[Any] = []
        for number, task in enumerate(tasks, start=1):
            key = _key(task, subject)
            finished = finished_folder(out / task.name, key)
            if finished is not None:
                display.stage_kept(number, task.name, len(tasks), finished.manifest.rows)
                continue
            display.stage_started(number, task.name, len(tasks))
            if not loaded:
                loaded.append(_loaded(subject))
            stage = begin_folder(out / task.name, (number, task.name), key, display.progress, stop)
            stage.executor = subject.executor
            with closing(stage.journal):
                asks = _asks(task, loaded[0])
                rows = stage.map(
                    "answers", task.file.questions, asks, row=ChoiceAnswer, chunk=CHUNK, unit="questions answered"
                )
                facts = EvaluationFacts(_setup(task, subject), figures(task.file.questions, rows, task.manner.samples))
                manifest = stage.publish(
                    [_judged_row(row) for row in rows], EvaluationRow, facts=facts.record()
                ).manifest
            display.stage_finished(task.name, manifest.rows, manifest.outcomes, manifest.seconds)
        results = results_of(out)
        write_atomically(out / RESULTS, json.dumps(results, indent=1) + "\n")
    return results


def results_of(out: Path) -> dict[str, Any]:
    """`{"model": NAME, "evaluations": [FIGURES, ...]}` of all that is finished in a folder, in a fixed order."""
    found = [EvaluationFacts.read(artefact.facts, str(artefact.path)) for artefact in _finished(out)]
    order = [*(form.value for form in Form), AnswersAs.PREFERENCE_MODEL.value]
    found.sort(key=lambda each: (each.setup.evaluation, order.index(each.setup.form)))
    return {"model": found[0].setup.model if found else None, "evaluations": [each.record() for each in found]}


def drawn(file: QuestionFile, limit: int | None, seed: int) -> QuestionFile:
    """The file with `limit` of its questions, drawn by their content, in the file's order; all of them when None."""
    if limit is None or limit >= len(file.questions):
        return file

    def chance(question: Question) -> float:
        return uniform_for(seed, "question", question.conversation.row_id, question.options, question.line)

    kept = sorted(file.questions, key=chance)[:limit]
    return replace(file, questions=tuple(sorted(kept, key=lambda question: question.line)))


def formulation_of(folder: Path | None) -> AnswersAs:
    """How a model can answer, by its folder's configuration: a sequence classifier scores, anything else chooses."""
    if folder is None:
        return AnswersAs.MULTIPLE_CHOICE
    try:
        kinds = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError, AttributeError):
        raise ModelError(
            "config.json cannot be read", place=str(folder), remedy="Give a folder that save_pretrained wrote"
        ) from None
    scores = any(str(kind).endswith("ForSequenceClassification") for kind in kinds)
    return AnswersAs.PREFERENCE_MODEL if scores else AnswersAs.MULTIPLE_CHOICE


def _loaded(subject: Subject) -> Engine | Scores:
    load = subject.load_engine if subject.answers_as is AnswersAs.MULTIPLE_CHOICE else subject.load_scores
    if load is None:
        raise ValueError(f"'{subject.name}' brings no way to answer as {subject.answers_as}")
    return load()


def _asks(task: Task, loaded: Any) -> Callable[[Sequence[Question]], list[ChoiceAnswer]]:
    if task.answers_as is AnswersAs.PREFERENCE_MODEL:
        return lambda questions: ask_scores(loaded, questions)
    return lambda questions: ask_choices(loaded, questions, task.manner, task.worked)


def _judged_row(row: ChoiceAnswer) -> EvaluationRow:
    answer = judged(row)
    return EvaluationRow(
        line=row.line,
        correct=row.correct,
        probabilities=answer.probabilities if answer else None,
        credit=answer.credit if answer else None,
        rotations=row.rotations,
        log_probs=row.log_probs,
        reasoning=row.reasoning,
        scores=row.scores,
        outcome=Outcome.OK if answer else Outcome.UNDECIDED,
        unanswered_because=row.unanswered_because,
    )


def _key(task: Task, subject: Subject) -> dict[str, object]:
    lines = [question.line for question in task.file.questions]
    about: dict[str, object] = {"file": digest_file(task.file.path), "questions": len(lines), "lines": digest(lines)}
    manner = {name: value for name, value in asdict(task.manner).items() if name != "sampling"}
    if task.manner.form is Form.REASONED:
        manner["drawing"] = task.manner.sampling
    about["code"] = {"stage": CODE, "asking": rounding.CODE}
    return {**about, "model": subject.name, **subject.settings, **manner, "examples": digest(repr(task.worked))}


def _setup(task: Task, subject: Subject) -> EvaluationSetup:
    worked = task.worked
    return EvaluationSetup(
        evaluation=task.file.name,
        kind=task.file.kind.value,
        options=len(task.file.questions[0].options),
        model=subject.name,
        form=task.form,
        order=task.manner.order.value,
        samples=task.manner.samples,
        examples=len(worked.classified or worked.reasoned or worked.comparisons),
        bad_rows=tuple(str(error) for error in task.file.bad),
    )


def _refuse_classification(file: QuestionFile) -> None:
    if file.kind is TaskType.CLASSIFICATION:
        raise InputError(
            "these questions classify a conversation, and a preference model can only compare replies",
            place=str(file.path),
            remedy="Leave the file out, or give a causal language model with --as multiple-choice",
        )


def _refuse_other_model(out: Path, name: str) -> None:
    for artefact in _finished(out):
        model = read_facts(EvaluationSetup, artefact.facts, str(artefact.path)).model
        if model != name:
            raise RunError(
                f"the folder holds evaluations of another model ({model}, now {name})",
                place=str(out),
                remedy="Give another folder with --out",
            )


def _finished(out: Path) -> Iterator[Artefact]:
    for folder in sorted(out.iterdir()):
        if folder.is_dir() and (artefact := Artefact.open(folder)) is not None and "evaluation" in artefact.facts:
            yield artefact


@contextmanager
def _working_in(out: Path, stop: StopRequest) -> Iterator[None]:
    """Own the folder, made when it is not there, with what a kill left behind cleared away."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / LOCK).exists())):
        raise RunError(
            "the folder is not empty and holds no evaluations", place=str(out), remedy="Give a new folder with --out"
        )
    with reporting_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    refuse_special_files(out)
    with locked(out), catching_signals(stop):
        for folder in (out, *(each for each in out.iterdir() if each.is_dir())):
            sweep(folder)
            if (folder / MANIFEST).exists():
                clear_work(folder)
        yield
