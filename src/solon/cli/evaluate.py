"""`solon eval`: the paper's multiple-choice evaluations of a model, from the paper's own files.

It checks the options and reads the files before it loads a model. Then `solon.evaluate` answers the questions that have
no answer yet, and the figures go to the terminal, to JSON and to a page.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from solon.cli.options import NEW_FOLDER, PATH, QUIET, on_option
from solon.cli.terminal import plain, print_line, print_table, resumable
from solon.stats.intervals import interval, per_cent, probability

if TYPE_CHECKING:
    from solon.config.ray_cluster import RayCluster
    from solon.evals.benchmarks.evaluation import Task
    from solon.evals.benchmarks.model_evaluation import EvaluationSettings

EPILOG = """\b
Examples:
  solon eval 438HHHEvaluations.jsonl --engine fetched:smollm2-135m
  solon eval HHH.jsonl --engine testbed:assistant --form letter --form few-shot --constitution testbed
  solon eval HHH.jsonl --engine models/big --form reasoned --samples 5 --out runs/evals/big
  solon eval HHH.jsonl --engine runs/demo/07-preference-model/model
  solon eval HarmfulVsEthical.jsonl --engine fetched:smollm2-135m --show      only print the questions
"""
HEAD = ("Evaluation", "Form", "Accuracy, %", "File's order", "Same option", "ECE", "Brier", "No answer")


@dataclass(frozen=True, slots=True)
class Options:
    """The options other than `--engine`, under their own names."""

    answers_as: str | None
    forms: tuple[str, ...]
    samples: int
    max_tokens: int
    examples: int
    constitution: str
    order: str
    rendering: str
    batch: int
    seed: int
    limit: int | None
    bad_rows: int
    out: Path | None
    show: bool
    on: RayCluster | None
    quiet: bool


@click.command("eval", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("--engine", required=True, metavar="MODEL", help="A model folder, or testbed:assistant.")
@click.option(
    "--as",
    "answers_as",
    type=click.Choice(["multiple-choice", "preference-model"]),
    help="How the model answers. [default: a sequence classifier scores, any other model chooses]",
)
@click.option(
    "--form",
    "forms",
    multiple=True,
    type=click.Choice(["letter", "few-shot", "reasoned"]),
    default=("letter",),
    show_default=True,
    help="0-shot, with worked examples, or with chains of thought; may be repeated.",
)
@click.option(
    "--samples", type=click.IntRange(1), default=5, show_default=True, help="How many chains of thought to average."
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Maximum tokens for each chain of thought.",
)
@click.option("--examples", type=click.IntRange(0), default=4, show_default=True, help="Worked examples.")
@click.option(
    "--constitution", default="harmlessness", show_default=True, help="The constitution with the worked comparisons."
)
@click.option("--order", type=click.Choice(["both", "one"]), default="both", show_default=True,
              help="All rotations of the options, which removes letter bias, or one random rotation.")  # fmt: skip
@click.option("--rendering", type=click.Choice(["auto", "chat", "transcript"]), default="auto", show_default=True,
              help="How prompts become text.")  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(1), default=32, show_default=True, help="Maximum prompts in one forward pass."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Ask only this many random questions of each file.")
@click.option(
    "--bad-rows", type=click.IntRange(0), default=0, show_default=True, help="How many unreadable rows to skip."
)
@click.option("--out", type=NEW_FOLDER, help="The folder for the results. [default: runs/evals/MODEL]")
@click.option("--show", is_flag=True, help="Print the first question of each file in each form, and stop.")
@on_option
@QUIET
def evaluate(files: tuple[Path, ...], engine: str, **values: Any) -> None:
    """Measure a model on the paper's multiple-choice evaluations.

    FILE is one of the paper's: HHH comparisons, harmful versus ethical, or the nine types of harm. The command shows
    the options in every rotation and averages the scores, so that no letter has an advantage. The same command
    continues where it stopped. Another --form adds to the same folder.
    """
    from solon.config.model_spec import ModelSpec, located
    from solon.evals.benchmarks.model_evaluation import evaluation_tasks

    options = Options(**values)
    settings = _settings(options)
    tasks = evaluation_tasks(located(ModelSpec.parse(engine)), files, settings)
    _print_bad_rows(tasks)
    if options.show:
        _show(tasks)
        return
    _run(engine, files, settings, options)


def _settings(options: Options) -> EvaluationSettings:
    from solon.config.recipe import EngineSettings, OptionOrder, RenderingKind
    from solon.evals.benchmarks.evaluation import AnswersAs
    from solon.evals.benchmarks.model_evaluation import EvaluationSettings
    from solon.evals.benchmarks.multiple_choice import Form

    return EvaluationSettings(
        forms=tuple(Form(form) for form in options.forms),
        answers_as=AnswersAs(options.answers_as) if options.answers_as else None,
        order=OptionOrder(options.order),
        samples=options.samples,
        max_tokens=options.max_tokens,
        examples=options.examples,
        constitution=options.constitution,
        seed=options.seed,
        limit=options.limit,
        bad_rows=options.bad_rows,
        engine=EngineSettings(rendering=RenderingKind(options.rendering), batch_size=options.batch),
    )


def _run(engine: str, files: tuple[Path, ...], settings: EvaluationSettings, options: Options) -> None:
    from solon import api
    from solon.cli.display import display_for
    from solon.reporting.benchmark_section import EvaluationLine, evaluations_in, lines, write

    same_folder = f", --out {shlex.quote(str(options.out))}" if options.out else ""
    with resumable(f"the same command{same_folder}"), display_for(quiet=options.quiet) as display:
        done = api.evaluate(engine, files, settings, out=options.out, display=display, on=options.on)
    results = done.figures

    def row(line: EvaluationLine) -> list[str]:
        numbers = ["-" if value is None else probability(value) for value in (line.ece, line.brier)]
        shares = [_share(figure) for figure in (line.accuracy, line.as_given, line.same_option)]
        return [line.evaluation, line.form, *shares, *numbers, "-" if line.undecided is None else str(line.undecided)]

    title = f"{results['model']}: share of correct answers, % [95 % interval]"
    print_table(title, HEAD, [row(line) for line in lines(evaluations_in(results))])
    click.echo(f"Figures: {done.results_file}")
    click.echo(f"Page: {write(done.path, results)}")


def _share(figure: object) -> str:
    if not isinstance(figure, dict):
        return "-"
    return f"{per_cent(figure['value'])} [{interval(figure)}]"


def _print_bad_rows(tasks: Sequence[Task]) -> None:
    for file in dict.fromkeys(task.file.path for task in tasks):
        bad = next(task.file.bad for task in tasks if task.file.path == file)
        for error in bad:
            print_line(f"Left out: {error}", err=True)


def _show(tasks: Sequence[Task]) -> None:
    from solon.conversation import TranscriptRendering
    from solon.conversation import transcript as words
    from solon.evals.benchmarks.evaluation import AnswersAs
    from solon.evals.benchmarks.multiple_choice import conversations_of, prompt_for

    for task in tasks:
        question = task.file.questions[0]
        print_line(f"== {task.name}, line {question.line}")
        if task.answers_as is AnswersAs.PREFERENCE_MODEL:
            texts = [words(dialogue.turns) for dialogue in conversations_of(question)]
        else:
            prompt = prompt_for(question, 0, task.manner.form, task.worked)
            texts = ["".join(TranscriptRendering().render(prompt))]
        for text in texts:
            click.echo(plain(text).strip("\n") + "\n")
