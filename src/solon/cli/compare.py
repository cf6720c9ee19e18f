"""`solon compare`: people, or a judge in their place, compare the replies of hidden models.

It opens the models before anything else, so that a wrong name is an error at once. Votes go to a file in `--out`; when
the page is stopped, or a judge has finished, they are exported too.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from solon.cli.options import NEW_FOLDER, QUIET, THREADS, FiniteRange
from solon.cli.terminal import print_line, print_warning, resumable

if TYPE_CHECKING:
    from solon.comparisons.comparison_judges import ComparisonJudge
    from solon.comparisons.hidden_models import HiddenModels
    from solon.comparisons.turn_taking import TurnTaking
    from solon.comparisons.vote_rows import VoteMode
    from solon.comparisons.vote_store import VoteStore
    from solon.config.recipe import EngineSettings
    from solon.sources.prompt_files import FoundPrompt

ORACLE = "oracle"
MODES = ("helpfulness", "harmlessness")
EPILOG = """\b
Examples:
  solon compare runs/demo/04-sl-cai runs/demo/08-rl-cai
  solon compare sl=runs/demo/04-sl-cai rl=runs/demo/08-rl-cai base=testbed:pretrained --out runs/blind
  solon compare testbed:assistant runs/over/08-rl-cai/snapshots --judge oracle --count 200
  solon compare models/one models/two --judge models/judge --mode harmlessness --prompts attempts.jsonl
  solon compare --export --out runs/blind
"""


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """The options, under their own names."""

    out: Path
    modes: tuple[str, ...]
    prompts: tuple[str, ...]
    judge: str | None
    principle: str | None
    count: int
    turns: int
    max_tokens: int
    temperature: float
    seed: int
    host: str
    port: int
    allow_host: tuple[str, ...]
    threads: int | None
    export: bool
    quiet: bool


@click.command(epilog=EPILOG)
@click.argument("models", nargs=-1, metavar="[NAME=]MODEL...")
@click.option("--out", type=NEW_FOLDER, default="runs/comparison", show_default=True, help="The folder of the votes.")
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), help="What is compared; may be repeated. "
              "[default: both, apart]")  # fmt: skip
@click.option("--prompts", multiple=True, metavar="[MODE=]FILE", help="Prompts to take turns from; may be repeated. "
              "[default: prompts that come with Solon]")  # fmt: skip
@click.option("--judge", metavar="MODEL", help="A model compares in a person's place; 'oracle' is the testbed's.")
@click.option("--principle", metavar="TEXT", help="What a judging model chooses by, in the one --mode.")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True,
              help="Conversations of each mode, with a judge.")  # fmt: skip
@click.option("--turns", type=click.IntRange(1, 20), default=1, show_default=True,
              help="Turns of each conversation, with a judge.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True, help="Maximum tokens of a reply.")
@click.option("--temperature", type=FiniteRange(0), default=1.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="All draws depend on it.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port. [default: a free one]")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Answer requests for this host too; may be repeated.")
@THREADS
@click.option("--export", is_flag=True, help="Only write the files again that the votes are exported to.")
@QUIET
def compare(models: tuple[str, ...], **values: Any) -> None:
    """Compare models in blind votes.

    Prints the address of a local page. A person writes each turn, or takes a prompt; two models reply, in random order,
    and the person says which reply is better. The conversation continues with it. With --judge a model or the oracle
    compares instead, without a page. Votes are saved in OUT/votes.sqlite. `solon elo OUT` computes ratings.

    MODEL is a model folder, an engine such as testbed:assistant, a model of a run (RUN:rl-cai, a snapshot
    RUN:rl-cai/20), a stage's folder, or a folder of snapshots.
    """
    from solon.comparisons.vote_store import VOTES, VoteStore

    options = CompareOptions(**values)
    path = options.out / VOTES
    if options.export:
        if models:
            raise click.UsageError("--export reads the votes that are there; leave the models out")
        _export(VoteStore.existing(path), options)
        return
    if options.principle and (not options.judge or len(options.modes) != 1):
        raise click.UsageError("--principle needs a --judge and exactly one --mode")
    _compare(models, options, path)


def _compare(written: Sequence[str], options: CompareOptions, path: Path) -> None:
    from solon.comparisons.hidden_models import HiddenModels, compared_models
    from solon.comparisons.page_service import require_page_packages
    from solon.comparisons.turn_taking import TurnTaking
    from solon.comparisons.vote_rows import VoteMode
    from solon.comparisons.vote_store import VoteStore
    from solon.config.recipe import EngineSettings
    from solon.config.settings import SamplingParams
    from solon.pipeline.run_models import folder_of_run

    if options.judge is None:
        require_page_packages()
    compared = compared_models(written, folder_of_run)
    modes = tuple(VoteMode(each) for each in options.modes) or tuple(VoteMode)
    prompts = _prompts(options, modes)
    settings = EngineSettings(threads=options.threads)
    sampling = SamplingParams(max_tokens=options.max_tokens, temperature=options.temperature)
    judge = _judge(options, settings, prompts)
    opened = HiddenModels.opened(compared, sampling, settings)
    store = VoteStore(path)
    store.add_models(compared)
    taking = TurnTaking(store, [model.key for model in compared], prompts, options.seed)
    if judge is None:
        _serve(taking, opened, modes, options)
    else:
        _simulate(taking, opened, judge, modes, options)
    _export(store, options)


def _prompts(options: CompareOptions, modes: Sequence[VoteMode]) -> dict[VoteMode, list[FoundPrompt]]:
    """The prompts of each mode, from the files that are named or those that come with Solon."""
    from solon.comparisons.prompt_choice import prompts_by_mode

    return prompts_by_mode(options.prompts, modes, testbed=options.judge == ORACLE)


def _judge(
    options: CompareOptions, settings: EngineSettings, prompts: Mapping[VoteMode, list[FoundPrompt]]
) -> ComparisonJudge | None:
    """Who votes on replies to these prompts; None for people. Raises InputError for prompts unknown to the oracle."""
    from solon.comparisons.comparison_judges import PRINCIPLES, GraderJudge, ModelJudge
    from solon.comparisons.prompt_choice import refuse_unknown_prompts
    from solon.config.model_spec import ModelSpec, located
    from solon.config.recipe import TESTBED_GRADER
    from solon.constitution.constitution import PreferencePrinciple
    from solon.engines.registry import open_engine
    from solon.pipeline.graders import GRADERS

    if options.judge is None:
        return None
    if options.judge == ORACLE:
        oracle = GRADERS[TESTBED_GRADER]()
        refuse_unknown_prompts(prompts, oracle)
        return GraderJudge(oracle)
    engine = open_engine(located(ModelSpec.parse(options.judge)), settings)
    own: Mapping[VoteMode, PreferencePrinciple] = (
        {next(iter(prompts)): PreferencePrinciple("own", options.principle)} if options.principle else {}
    )
    return ModelJudge(engine, options.seed, {**PRINCIPLES, **own})


def _serve(taking: TurnTaking, opened: HiddenModels, modes: tuple[VoteMode, ...], options: CompareOptions) -> None:
    from solon.comparisons.page_service import PageAddress, PageServer
    from solon.comparisons.reply_queue import ReplyQueue
    from solon.comparisons.vote_page import PageParts
    from solon.reward.server.admission import LOOPBACK

    taking.store.keep([opened.kept_sampling()])
    parts = PageParts(taking, ReplyQueue(opened, taking.store), modes)
    server = PageServer(parts, PageAddress(options.host, options.port, options.allow_host))
    click.echo(f"Open {server.url}")
    click.echo(f"Whoever has the address can vote. Votes go to {taking.store.path}; Ctrl-C stops", err=True)
    if options.host not in LOOPBACK:
        click.echo("The page is not encrypted: on a network that others use, put a proxy with TLS before it", err=True)
    server.run()


def _simulate(
    taking: TurnTaking,
    opened: HiddenModels,
    judge: ComparisonJudge,
    modes: tuple[VoteMode, ...],
    options: CompareOptions,
) -> None:
    from solon.cli.display import display_for
    from solon.comparisons.simulated_users import SimulatedPlan, simulate, votes_by

    plan = SimulatedPlan(modes, options.count, options.turns)
    with resumable("the same command"), display_for(quiet=options.quiet) as display:
        display.stage_started(1, votes_by(judge), 1)
        ended = simulate(taking, opened, judge, plan, display.progress)
    if ended:
        why = f"the first because {ended[0].failed_because}"
        print_warning(f"{len(ended):,} conversations ended before their last vote, {why}")


def _export(store: VoteStore, options: CompareOptions) -> None:
    from solon.comparisons.vote_files import export_votes

    done = export_votes(store, options.out)
    print_line(f"{done.votes:,} votes: {store.path}, {done.lines}")
    for path, count in done.comparisons.items():
        print_line(f"{count:,} comparisons to learn from: {path}")
    for why, count in done.left_out.items():
        print_line(f"{count:,} votes are no comparison ({why})")
    if done.votes:
        print_line(f"Ratings: solon elo {shlex.quote(str(options.out))}")
