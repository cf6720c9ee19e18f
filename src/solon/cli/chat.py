"""`solon chat`: talk with a model in the terminal, and have its replies criticised and revised.

Lines come from the terminal or a pipe. A line that begins with "/" is a command; everything else is a message. A failed
command prints its error and the conversation goes on.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from solon.cli.options import THREADS, FiniteRange, recipe_option, settings_option
from solon.cli.terminal import clip, plain, print_line
from solon.config.located_yaml import suggestion
from solon.errors import InputError, SolonError
from solon.runs.outcome import Outcome

if TYPE_CHECKING:
    from solon.config.recipe import Recipe
    from solon.conversation import Conversation
    from solon.engines.base import Engine
    from solon.pipeline.chat_session import ChatSession, ChatText, Score
    from solon.pipeline.run_models import NamedModel

EPILOG = """\b
Examples:
  solon chat testbed:assistant
  solon chat runs/demo:rl-cai --score runs/demo:preference-model
  solon chat runs/demo:rl-cai/20 --temperature 0                   the policy after 20 steps
  solon chat models/mine --constitution mine.yaml --critic models/judge
  solon chat fetched:smollm2-135m --recipe real --critic fetched:qwen2.5-coder-1.5b
  printf 'Hello?\\n/critique\\n/revise\\n' | solon chat testbed:assistant
"""
HELP = """\
/critique [PRINCIPLE]  criticise the last reply; a principle is drawn when none is named
/revise [PRINCIPLE]    revise the last reply by that principle, after its critique
/principles            list the principles of the constitution
/undo                  take back the last reply, critique or revision
/reset                 begin a new conversation
/save FILE             add the conversation to FILE, a line of JSON
/help                  print this list
/quit                  end; so does Ctrl-D
A message that begins with a slash is written with two. A line that ends in a backslash goes on in the next."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """The options of the command, under their own names."""

    constitution: str | None
    critic: str | None
    score: str | None
    temperature: float | None
    max_tokens: int | None
    seed: int | None
    recipe: str | None
    settings: tuple[str, ...]
    threads: int | None


@click.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL")
@click.option("--constitution", metavar="NAME_OR_FILE", help="The principles. [default: the run's, or the recipe's]")
@click.option("--critic", metavar="MODEL", help="Who criticises and revises. [default: the run's critic, or MODEL]")
@click.option("--score", metavar="PM", help="A preference model, such as RUN:preference-model, that scores each reply.")
@click.option("--temperature", type=FiniteRange(0), help="0 is the most probable text. [default: the recipe's]")
@click.option("--max-tokens", type=click.IntRange(1), help="Most tokens of a reply. [default: the recipe's]")
@click.option("--seed", type=click.IntRange(0), help="The same seed gives the same replies. [default: the recipe's]")
@recipe_option("How the model is asked. [default: the run's; testbed for the bundled models, else own]")
@settings_option("One setting, e.g. revision.few_shot=2.")
@THREADS
def chat(model: str, **values: object) -> None:
    """Talk with a model in the terminal.

    MODEL is a model of a run (RUN:rl-cai, RUN:sl-cai, a snapshot RUN:rl-cai/20, RUN:assistant), a model folder, or
    testbed:assistant. /critique and /revise do to the last reply what a run does, by a principle that you choose, and
    the conversation goes on with the revision. /help lists all commands.
    """
    from solon.pipeline.run_models import named_model

    options = ChatOptions(**values)  # type: ignore[arg-type]
    session = _open(named_model(model), model, options)
    _print_heading(model, session)
    for line in _lines():
        try:
            if not _obey(session, line):
                return
        except SolonError as error:
            print_line(f"Error: {error}", err=True)
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            print_line("Stopped; the conversation is as it was", err=True)


def _open(named: NamedModel, name: str, options: ChatOptions) -> ChatSession:
    """Read everything that can be wrong, then load the model."""
    from solon import api
    from solon.engines.registry import open_engine
    from solon.http.spending import Ledger
    from solon.pipeline.chat_session import ChatSession
    from solon.pipeline.run_models import named_model

    recipe = _recipe(named, name, options)
    if options.constitution is None and named.run is not None:
        constitution = named.run.constitution
    else:
        constitution = api.load_constitution(options.constitution or recipe.constitution)
    of_run = (recipe.models.critic or recipe.models.assistant) if named.run else None
    critic_name = options.critic or of_run
    critic = named_model(critic_name).spec if critic_name else named.spec
    score = _scorer(options.score, recipe) if options.score else None
    spent = Ledger()
    opened = {named.spec: open_engine(named.spec, recipe.engine, spent)}

    def open_critic() -> Engine:
        if critic not in opened:
            opened[critic] = open_engine(critic, recipe.engine, spent)
        return opened[critic]

    return ChatSession(opened[named.spec], recipe, constitution, open_critic, score)


def _recipe(named: NamedModel, name: str, options: ChatOptions) -> Recipe:
    """The recipe that says how models are asked, with the options as settings."""
    from solon import api
    from solon.config.builtin import default_recipe
    from solon.runs.directory import RECIPE

    given = {
        "responses.sampling.temperature": options.temperature,
        "responses.sampling.max_tokens": options.max_tokens,
        "seed": options.seed,
        "engine.threads": options.threads,
    }
    settings = (*options.settings, *(f"{key}={value}" for key, value in given.items() if value is not None))
    of_run = named.run.path / RECIPE if named.run else None
    return api.load_recipe(options.recipe or of_run or default_recipe(name), settings=settings)


def _scorer(name: str, recipe: Recipe) -> Score:
    """What scores a conversation: 0 is the mean reply of the preference model's held-out prompts."""
    from solon.pipeline.run_models import named_model
    from solon.reward.preference_model import PreferenceModel
    from solon.reward.scorer import model_folder_in

    folder = Path(name)
    model = PreferenceModel.load(
        model_folder_in(folder) if folder.is_dir() else Path(named_model(name).spec.name), recipe.engine
    )

    def score(conversation: Conversation) -> float | None:
        fits = model.scorer.fits(model.scorer.tokens([conversation])[0])
        return model.score(conversation)[0] if fits else None

    return score


def _lines() -> Iterator[str]:
    """The lines that a person types, or those of a pipe; one that ends in a backslash goes on in the next.

    At the end of the input there is no next, and what is held is a line.
    """
    terminal = sys.stdin.isatty()
    if terminal:
        with suppress(ImportError):
            import readline  # noqa: F401  # `input` then edits lines and remembers them
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    held = ""
    while (typed := _typed("... " if held else "you> ", terminal=terminal)) is not None:
        line = held + typed.encode("utf-8", "replace").decode("utf-8")
        held = f"{line[:-1]}\n" if line.endswith("\\") else ""
        if not held and line.strip():
            yield line
    if held.strip():
        yield held.removesuffix("\n")


def _typed(prompt: str, *, terminal: bool) -> str | None:
    """The next line of the input without its end; None at the end of the input."""
    if terminal:
        try:
            return input(prompt)
        except EOFError:
            click.echo()
            return None
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def _obey(session: ChatSession, line: str) -> bool:
    """Answer a message, or carry out a command; false when the conversation is to end."""
    if not line.startswith("/") or line.startswith("//"):
        print_text("Assistant", session.say(line[1:] if line.startswith("//") else line))
        return True
    command, _, rest = line.partition(" ")
    argument = rest.strip() or None
    if command == "/quit":
        return False
    commands: Mapping[str, Callable[[], object]] = {
        "/critique": lambda: _criticise(session, argument),
        "/revise": lambda: _revise(session, argument),
        "/principles": lambda: _print_principles(session),
        "/undo": lambda: _undo(session),
        "/reset": lambda: _reset(session),
        "/save": lambda: _save(session, argument),
        "/help": lambda: click.echo(HELP),
    }
    if command not in commands:
        raise InputError(f"no command {command}", place="chat", remedy=suggestion(command, [*commands, "/quit"]))
    commands[command]()
    return True


def _criticise(session: ChatSession, name: str | None) -> bool:
    """Print a critique; whether it is good enough for a revision."""
    principle, critique = session.criticise(name)
    print_text(f"Critique by {principle.id}", critique)
    return critique.outcome is Outcome.OK


def _revise(session: ChatSession, name: str | None) -> None:
    if not session.revises_directly and not session.awaits_revision(name) and not _criticise(session, name):
        print_line("No revision: the critique did not pass the checks. The reply stays", err=True)
        return
    principle, revision = session.revise(name)
    print_text(f"Revision by {principle.id}", revision)
    if revision.outcome is not Outcome.OK:
        print_line("The revision did not pass the checks. The reply stays", err=True)


def print_text(who: str, written: ChatText) -> None:
    """Print a text with its speaker, its score and what its checks found."""
    click.secho(f"{plain(who, lines=False)}: ", bold=True, nl=False)
    click.echo(plain(written.text) if written.text else "(nothing)")
    notes = [] if written.outcome is Outcome.OK else [f"outcome: {written.outcome}"]
    # What is only noted, such as a revision in the same words, is no reason to refuse the text.
    found = "noted" if written.outcome is Outcome.OK else "breaks a rule"
    notes += [f"{found}: {', '.join(written.defects)}"] if written.defects else []
    notes += [] if written.score is None else [f"score {written.score:+.2f}"]
    if notes:
        click.secho(f"  [{'; '.join(notes)}]", dim=True)


def _print_principles(session: ChatSession) -> None:
    """Print the principles with their numbers, ids and critique requests."""
    for number, principle in enumerate(session.principles, start=1):
        print_line(f"{number:>3} {principle.id}: {clip(principle.critique_request, 160)}")


def _undo(session: ChatSession) -> None:
    click.echo("Taken back" if session.undo() else "There is nothing to take back")
    _print_last(session)


def _print_last(session: ChatSession) -> None:
    if session.state.turns:
        print_line(f"  The last reply is: {clip(session.state.turns[-1].content, 100)}")


def _reset(session: ChatSession) -> None:
    session.reset()
    click.echo("A new conversation; /undo brings the old one back")


def _save(session: ChatSession, name: str | None) -> None:
    if name is None:
        raise InputError("it needs a file", place="/save", remedy="Write /save chat.jsonl")
    session.save(Path(name))
    print_line(f"Added to {name}")


def _print_heading(model: str, session: ChatSession) -> None:
    about = f"constitution '{session.constitution.name}' with {len(session.principles)} principles"
    print_line(f"{model} ({session.engine.name}); {about}. /help lists the commands", err=True)
