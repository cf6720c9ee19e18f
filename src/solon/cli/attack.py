"""`solon attack`: automated red teaming of a policy, and what it found as a table, sentences and a list."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import QUIET, RUN, FiniteFloat, FiniteRange
from solon.cli.terminal import clip, print_line, print_table, resumable

if TYPE_CHECKING:
    from solon.pipeline.extra_stages import AttackOrder
    from solon.runs import Artefact, RunDirectory
    from solon.runs.evaluation_rows import AttackRow

EPILOG = """\b
Examples:
  solon attack runs/demo                                          the last policy, scored by its preference model
  solon attack runs/demo --model sl-cai --rounds 8 --prompts 100
  solon attack runs/demo --model rl-cai/20 --name early           a snapshot, in a folder of its own
  solon attack runs/demo --model fetched:smollm2-135m --by judge
\b
The prompts on which the policy failed can join from the second round of a further run (solon run --reuse RUN):
  rounds = 2, online.red_team = runs/demo/10-attack-rl-cai/prompts.jsonl
"""


@dataclass(frozen=True, slots=True)
class AttackOptions:
    """The options of the command, under their own names."""

    model: str | None
    rounds: int
    prompts: int
    seeds: int | None
    requests: int | None
    explore: float
    by: str
    references: int
    threshold: float | None
    name: str | None

    def order(self) -> AttackOrder:
        """The attack that the options ask for."""
        from solon.config.attack_settings import AttackSettings, ScoredBy
        from solon.pipeline.extra_stages import AttackOrder

        settings = AttackSettings(
            rounds=self.rounds,
            prompts=self.prompts,
            seeds=self.seeds,
            requests=self.requests,
            explore=self.explore,
            scored_by=ScoredBy(self.by),
            references=self.references,
            threshold=self.threshold,
        )
        return AttackOrder(settings, self.model, self.name)


@click.command(epilog=EPILOG)
@RUN
@click.option("--model", metavar="MODEL", help="The attacked model: one of the run, such as sl-cai or rl-cai/20, or any other. [default: the last policy]")  # noqa: E501  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds of writing and testing.")
@click.option("--prompts", type=click.IntRange(1), default=50, show_default=True, help="New prompts in each round.")
@click.option("--seeds", type=click.IntRange(0), help="Human prompts that are tested first. [default: as --prompts]")
@click.option("--requests", type=click.IntRange(1), help="Most requests in each round. [default: as --prompts]")
@click.option("--explore", type=FiniteRange(0, 1), default=0.25, show_default=True,
              help="Share of requests that show only human prompts.")  # fmt: skip
@click.option("--by", type=click.Choice(["preference-model", "judge"]), default="preference-model", show_default=True,
              help="Who scores the replies.")  # fmt: skip
@click.option("--references", type=click.IntRange(0), default=4, show_default=True,
              help="The assistant's replies that the preference model compares with.")  # fmt: skip
@click.option(
    "--threshold", type=FiniteFloat(), help="The score beyond which a reply fails. [default: 0, or 0.5 by judge]"
)
@click.option("--name", help="A name for the folder, so that several attacks fit. [default: the model's]")
@click.option("--show", type=click.IntRange(0), default=10, show_default=True, help="How many kept prompts to print.")
@QUIET
def attack(run: Path, show: int, quiet: bool, **values: object) -> None:
    """Search for prompts on which a policy fails, in rounds.

    A model writes prompts after examples, as in red-team. The policy answers; the run's preference model or judge
    scores the replies. Prompts on which it fails are kept, and are the examples of later requests. They go to
    prompts.jsonl, which a recipe can name as a source. The run's grader, if any, only measures. Ctrl-C saves; the same
    command continues.
    """
    from solon.runs import RunDirectory

    directory = RunDirectory.open(run)
    order = AttackOptions(**values).order()  # type: ignore[arg-type]
    from solon.cli.display import display_for
    from solon.pipeline.extra_stages import attack as carry_out
    from solon.reporting import write

    with resumable("the same command"), directory.lock(), display_for(quiet=quiet) as display:
        artefact = carry_out(directory, order, display)
    print_attack(artefact, show)
    _print_next(directory, artefact)
    click.echo(f"Report: {write(directory)}")


def print_attack(artefact: Artefact, show: int) -> None:
    """Print an attack: its rounds, what it found, and the kept prompts with the worst scores."""
    from solon.reporting.attack_section import ROUND_HEAD, cells_of, title_of, worst_first
    from solon.runs.attack_facts import AttackFacts
    from solon.runs.evaluation_rows import AttackRow
    from solon.runs.facts import read_facts
    from solon.stages.attack_figures import summary_lines

    facts = read_facts(AttackFacts, artefact.facts, str(artefact.path))
    print_table(title_of(facts), ROUND_HEAD, [cells_of(each) for each in facts.rounds])
    for line in summary_lines(facts):
        print_line(line)
    rows = artefact.rows(AttackRow)
    texts = {row.row_id: row.prompt.turns[-1].content for row in rows}
    for row in worst_first(rows, facts)[:show]:
        _print_kept(row, texts)


def _print_kept(row: AttackRow, texts: dict[str, str]) -> None:
    found = f"varied {row.generation} times" if row.varied_from else "new"
    print_line(f"{row.score:+.2f} in round {row.round}, {found}: {clip(row.prompt.turns[-1].content, 110)}")
    print_line(f"  reply: {clip(row.completion or '', 110)}")
    if row.varied_from:
        print_line(f"  after: {clip(' | '.join(texts[each] for each in row.varied_from), 110)}")


def _print_next(directory: RunDirectory, artefact: Artefact) -> None:
    """Name the file of the kept prompts, and the command that trains on them."""
    from solon.stages.extra_attack import KEPT_FILE

    file = artefact.path / KEPT_FILE
    if not file.exists():
        click.echo("No prompt is kept: no scored reply fails.")
        return
    rounds = directory.recipe.rounds + 1
    print_line(f"Prompts: {file}")
    print_line(
        f"Train on them in a further round: solon run NEW --reuse {shlex.quote(str(directory.path))} "
        f"--set rounds={rounds} --set online.red_team={shlex.quote(str(file))}"
    )
