"""`solon preference`, `solon score`, `solon serve-pm`: train, use and serve a preference model outside a run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from solon.cli.options import COLUMNS, NEW_FILE, PATH, QUIET, THREADS, FiniteRange, recipe_option, settings_option
from solon.cli.terminal import print_line, print_table, resumable
from solon.stats.intervals import probability

if TYPE_CHECKING:
    from solon.runs.facts import PreferenceFacts

RAW = click.option(
    "--raw", is_flag=True, help="Print the classifier's own numbers, without subtracting the stored mean."
)


@click.command(
    epilog="""\b
Examples:
  solon preference pm --base testbed:pretrained --labels runs/demo --human testbed:helpfulness
  solon preference pm --base models/mine --labels labels.jsonl
  solon preference pm --base models/mine --human helpful.jsonl.gz --set preference.training.epochs=2
"""
)
@click.argument("out", type=PATH)
@click.option("--base", required=True, metavar="MODEL", help="The model to start from: a folder or testbed:NAME.")
@click.option(
    "--labels", multiple=True, type=PATH, help="Parquet, JSONL, CSV, RUN/06-ai-feedback or RUN; may be repeated."
)
@click.option(
    "--human", metavar="FILE", help="Human comparisons, which count as p = 1: JSONL, CSV, Parquet or testbed:NAME."
)
@COLUMNS
@recipe_option("The recipe with the settings. [default: testbed for the bundled models, else own]")
@settings_option("One setting, as in solon run.")
@QUIET
def preference(
    out: Path,
    base: str,
    labels: tuple[Path, ...],
    human: str | None,
    columns: tuple[str, ...],
    recipe: str | None,
    settings: tuple[str, ...],
    quiet: bool,
) -> None:
    """Train a preference model on files of labels.

    OUT is a new folder, or the folder of an interrupted call. A labelled pair is a prompt, a chosen and a rejected
    reply, and p_chosen, the probability that the chosen one is better. The command reads `preference`, `engine` and
    `seed` of the recipe and writes the model to OUT/model.
    """
    from solon import api
    from solon.cli.display import display_for
    from solon.config.builtin import default_recipe
    from solon.runs.facts import PreferenceFacts, read_facts
    from solon.sources.columns import columns_from

    if columns:
        settings = (*settings, f"preference.columns={json.dumps(columns_from(columns))}")
    chosen = api.load_recipe(recipe or default_recipe(base), (), settings)
    with resumable("the same command"), display_for(quiet=quiet) as display:
        done = api.train_preference_model(labels, base, out, human=human, recipe=chosen, display=display)
    facts = read_facts(PreferenceFacts, done.facts, str(done.path))
    for why, count in facts.human_skipped.items():
        click.echo(f"Skipped: {count:,} human comparisons ({why})")
    _print_measures(facts)
    click.echo(f"Model: {done.path / 'model'}")
    click.echo(f"Check it with: solon score --check {shlex.quote(str(done.path))}")


@click.command(
    epilog="""\b
Examples:
  solon score replies.jsonl --model runs/demo/07-preference-model
  solon score replies.jsonl --model pm --output scored.jsonl
  solon score --check pm                                           compute the golden scores again
"""
)
@click.argument("file", required=False, type=PATH)
@click.option("--model", type=PATH, help="The preference model: its folder, or the stage's folder.")
@click.option("--output", type=NEW_FILE, help="The file to write. [default: standard output]")
@COLUMNS
@RAW
@THREADS
@click.option(
    "--check", type=PATH, metavar="FOLDER", help="Compute a model's golden scores again; exit with 1 if they differ."
)
def score(
    file: Path | None,
    model: Path | None,
    output: Path | None,
    columns: tuple[str, ...],
    raw: bool,
    threads: int | None,
    check: Path | None,
) -> None:
    """Score conversations with a preference model.

    Each row of FILE (JSONL, CSV or Parquet) has `messages`, `prompt` with `completion`, or `chosen` and `rejected`. The
    command prints each row with its scores. Differences are log-odds: P(a is better than b) = sigmoid(score a - score
    b). 0 is the mean over the model's held-out prompts.
    """
    if check is not None:
        if file is not None:
            raise click.UsageError("--check scores the folder's own conversations; leave FILE out")
        click.get_current_context().exit(_replay(check, threads))
    if file is None or model is None:
        raise click.UsageError("give FILE and --model FOLDER, or --check FOLDER")
    from solon.config.recipe import EngineSettings
    from solon.reward.preference_model import PreferenceModel
    from solon.reward.score_file import read_scorable
    from solon.reward.scorer import Zero
    from solon.runs.files import replacing
    from solon.sources.columns import columns_from

    called = columns_from(columns)
    lines = sum(1 for _ in read_scorable(file, called))  # raises for a malformed line before the model is loaded
    scorer = PreferenceModel.load(model, EngineSettings(threads=threads))
    unscored = 0

    def scored_lines() -> Iterator[str]:
        nonlocal unscored
        for record in scorer.score_file(file, called, Zero.RAW if raw else Zero.CENTRE):
            unscored += "unscored" in record
            yield json.dumps(record, default=str) + "\n"

    if output is None:
        sys.stdout.writelines(scored_lines())
    else:
        with replacing(output) as temporary, temporary.open("w", encoding="ascii") as stream:
            stream.writelines(scored_lines())
    click.echo(f"{lines - unscored:,} of {lines:,} lines scored, {unscored:,} too long", err=True)


@click.command(
    "serve-pm",
    epilog="""\b
Examples:
  solon serve-pm runs/demo/07-preference-model
  solon serve-pm pm --port 9000 --threads 4
  SOLON_PM_TOKEN=... solon serve-pm pm --host 0.0.0.0 --allow-host gpu-7 --allow-host 10.0.0.5
""",
)
@click.argument("folder", type=PATH)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0 takes a free one."
)
@click.option(
    "--wait",
    type=FiniteRange(0, 1000),
    default=3.0,
    show_default=True,
    help="Milliseconds to wait for more requests.",
)
@click.option(
    "--max-body", type=click.IntRange(1, 1024), default=16, show_default=True, help="Maximum MiB of a request."
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Answer requests for this host too; may be repeated.")
@click.option("--token-file", type=PATH, metavar="FILE", help="Require the token in FILE. [default: $SOLON_PM_TOKEN]")
@RAW
@THREADS
def serve_pm(folder: Path, **options: Any) -> None:
    """Serve a preference model over HTTP.

    POST /get_reward answers like OpenRLHF's remote reward model. POST /score takes lists of messages. GET /health names
    the model. Requests that arrive together are scored together. Ctrl-C answers open requests and stops.

    The server answers requests for localhost, for --host, and for each --allow-host: the host in the client's URL. With
    a token, clients must send "Authorization: Bearer TOKEN". The token is never given on the command line.
    """
    from solon.config.addresses import read_token
    from solon.config.recipe import EngineSettings
    from solon.reward.scorer import Zero, open_scorer
    from solon.reward.server.admission import LOOPBACK
    from solon.reward.server.batching import Limits
    from solon.reward.server.server import REWARD, PreferenceServer, Service, serve_until_stopped

    settings = EngineSettings(threads=options["threads"])
    service = Service(
        host=options["host"],
        port=options["port"],
        max_body=options["max_body"] << 20,
        zero=Zero.RAW if options["raw"] else Zero.CENTRE,
        hosts=options["allow_host"],
        token=read_token(options["token_file"]),
    )
    scorer = open_scorer(folder, settings)
    server = PreferenceServer(scorer, service, settings, Limits(wait=options["wait"] / 1000))
    print_line(f"Serving {scorer.name} at {server.url}{REWARD}; Ctrl-C stops")
    if service.host not in LOOPBACK:
        if service.token is None:
            click.echo("No token is set (SOLON_PM_TOKEN): every client that reaches this address may use it", err=True)
        if not service.hosts:
            click.echo("Only requests for localhost and --host are answered; --allow-host adds names", err=True)
    serve_until_stopped(server)
    click.echo(f"Stopped; {server.batcher.answered:,} requests answered in {server.batcher.batches:,} batches")


def _replay(folder: Path, threads: int | None) -> int:
    """Compute a folder's golden scores again and print the differences; the exit code is 1 if they differ."""
    from solon.config.recipe import EngineSettings
    from solon.reward.golden import TOLERANCE, check

    replay = check(folder, EngineSettings(threads=threads))
    rows = [["transformers", f"{replay.transformers:.1e}"], ["solon", f"{replay.solon:.1e}"]]
    print_table(f"{replay.rows} golden scores, greatest difference", ("Read by", "Off by"), rows)
    click.echo(f"{replay.texts} of {replay.rows} texts give the tokens that were scored")
    click.echo(f"{replay.templates} of {replay.rows} conversations give them through the folder's own chat template")
    click.echo(f"{'As saved' if replay.passed else 'NOT as saved'}: {TOLERANCE:.0e} is allowed")
    return 0 if replay.passed else 1


def _print_measures(facts: PreferenceFacts) -> None:
    measures = (facts.accuracy, facts.brier, facts.ece)
    rows = [
        [source, str(pairs), *(probability(each[source]) if source in each else "-" for each in measures)]
        for source, pairs in facts.held_out_examples.items()
    ]
    if rows:
        print_table("On held-out prompts", ("Source", "pairs", "accuracy", "brier", "ece"), rows)
    else:
        click.echo("Nothing was measured, because no prompt was held out")
