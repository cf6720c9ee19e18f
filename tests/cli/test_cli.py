"""The command line: quick help with examples, errors in one line, exact JSON, clean terminals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.types import FloatParamType

from solon.cli.main import COMMANDS, cli, main
from solon.cli.terminal import clip, plain, shorten
from solon.config.builtin import DATA, built_in
from solon.runs import RunDirectory
from tests.synthetic import CONSTITUTION, Plan, build


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return build(tmp_path_factory.mktemp("cli") / "run", Plan(red=6, held_out=6))


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = [path for path, _ in commands()]


@pytest.mark.parametrize("path", [(), *ALL], ids=lambda path: " ".join(path) or "solon")
def test_every_help_has_examples_that_start_with_the_command(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, *path, "--help")
    assert code == 0
    examples = re.findall(r"^ +(solon .*)$", out.split("Examples:")[1], re.M)
    assert examples
    assert all(example.startswith(" ".join(("solon", *path))) for example in examples)


@pytest.mark.parametrize("path", [(), *ALL], ids=lambda path: " ".join(path) or "solon")
def test_every_example_is_a_command_line_that_parses(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, *path, "--help")
    for example in re.findall(r"^ +(solon .*)$", out.split("Examples:")[1], re.M):
        words = re.split(r"\s{2,}| \| ", example)[0].split()[1:]
        command: click.Command = cli
        while words and isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, example
            command = found
        command.make_context(command.name, words)


def test_the_list_of_commands_says_what_each_command_says_of_itself() -> None:
    for name, command in ((path[0], command) for path, command in commands() if len(path) == 1):
        assert COMMANDS[name][1] == (command.help or "").splitlines()[0]


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time\n"
        "from solon.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(time.process_time())\n"
        "print([name for name in ('torch', 'transformers', 'pyarrow', 'rich', 'pydantic', 'jinja2', 'numpy')"
        " if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, seconds, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    # Processor time, Python's own start included, because the machine may be busy with something else.
    assert float(seconds) < 0.5


@pytest.mark.parametrize("command", ["status", "results", "report"])
def test_a_missing_run_is_one_line_with_the_next_command(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, command, tmp_path / "none")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith(f"Error: {tmp_path / 'none'}: no such run.")
    assert f"solon run {tmp_path / 'none'}" in err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = run(capsys, "status", tmp_path)
    assert code == 1
    assert "not a run directory: run.json is missing" in err


def test_an_unknown_setting_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "run", tmp_path / "run", "--recipe", "testbed", "--set", "rl.stepz=3")
    assert code == 1
    assert err.count("\n") == 1
    assert "rl.steps" in err
    assert not (tmp_path / "run").exists(), "nothing is made for a command line that is wrong"


def test_an_unknown_recipe_says_which_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "run", tmp_path / "run", "--recipe", "testbet")
    assert code == 1
    assert "testbed" in err


def test_other_settings_for_a_run_that_exists_are_refused_old_to_new(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "run", finished.path, "--set", "rl.steps=7", "--set", "seed=3")
    assert code == 1
    assert "rl.steps: 40 -> 7" in err
    assert "seed: 0 -> 3" in err


def test_a_broken_constitution_is_reported_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(CONSTITUTION.replace("instruction: Which", "instructoin: Which", 1))
    line = file.read_text().splitlines().index("    instructoin: Which of these replies is less harmful?") + 1
    code, _, err = run(capsys, "constitution", "check", file)
    assert code == 1
    assert f"{file}:{line}" in err
    assert "instruction" in err


def test_a_good_constitution_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(CONSTITUTION)
    code, out, _ = run(capsys, "constitution", "check", file)
    assert code == 0
    assert "8 revision and 8 preference principles" in out


@pytest.mark.parametrize("line", [["frobnicate"], ["results"], ["run", "x", "--nonsense"], ["show", "prompt", "joke"]])
def test_a_wrong_command_line_exits_with_2(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *line)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize(("rank", "said"), [("0", 1), ("1", 0)])
def test_a_launcher_is_refused_where_one_process_does_the_work(
    rank: str, said: int, finished: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    code, out, err = run(capsys, "results", finished.path)
    assert code == 1 and not out
    assert err.count("only 'solon run' shares its work among them. Use it without a launcher: solon results") == said
    # In a process of its own: accelerate keeps what it found out about processes, here and in the environment.
    command = [sys.executable, "-m", "solon.cli", "run", str(finished.path), "--until", "sl-cay"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "WORLD_SIZE": "2", "RANK": rank})
    assert done.returncode == 1 and done.stderr.count("sl-cai") == said, "the main process speaks for all"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "solon.cli", "status", str(tmp_path / "none"), "--debug"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


def test_results_json_is_exact(finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "results", finished.path, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["models"]["assistant"]["harmful"]["n"] == 6


def test_results_and_status_are_plain_tables_off_a_terminal(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "results", finished.path)
    assert code == 0
    assert re.search(r"^  assistant +100\.0 \[61\.0-100\.0\]", out, re.M)
    assert "The judge was right on" in out
    assert "\x1b" not in out
    code, out, _ = run(capsys, "status", finished.path)
    assert re.search(r"^  9 measure +finished +48", out, re.M)


def test_status_shows_which_stages_are_reused(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = finished.finished("prompts")
    assert prompts is not None
    constitution = finished.path / "constitution.yaml"
    new = RunDirectory.create(tmp_path / "new", finished.recipe, constitution, (finished.path,))
    assert new.adopt(1, "prompts", prompts.manifest.key) is not None
    code, out, _ = run(capsys, "status", new.path)
    assert code == 0
    assert re.search(r"^  1 prompts +reused", out, re.M)
    assert re.search(r"^  2 responses +not begun", out, re.M)


def test_status_of_an_unfinished_run_prints_the_command_that_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = build(tmp_path / "run", Plan(red=2, held_out=2, stages=2))
    unfinished.begin(3, "critique-revision", {})
    code, out, _ = run(capsys, "status", unfinished.path)
    assert code == 0
    assert re.search(r"^  3 critique-revision +begun", out, re.M)
    assert re.search(r"^  4 sl-cai +not begun", out, re.M)
    assert f"solon run {unfinished.path}" in out


def test_status_of_a_run_in_progress_says_how_far_it_is_and_what_it_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    working = build(tmp_path / "run", Plan(red=2, held_out=2, stages=3))
    with working.lock():
        out = working.begin(4, "sl-cai", {})
        out.report(30, 120, unit="steps")
        code, out_text, _ = run(capsys, "status", working.path)
    assert code == 0
    assert re.search(r"^  4 sl-cai +begun +30/120 steps", out_text, re.M)
    assert re.search(r"^sl-cai: 30/120 steps, time left unknown \(said \d+\.\d s ago\)", out_text, re.M)


def test_report_writes_to_the_given_file(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "report", finished.path, "--output", tmp_path / "page.html")
    assert code == 0
    assert str(tmp_path / "page.html") in out
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_is_one_line(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "report", finished.path, "--output", tmp_path / "file" / "page.html")
    assert code == 1
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["reply", "critique", "revision", "comparison", "reasoning"])
def test_show_prompt_prints_what_a_model_reads(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(CONSTITUTION)
    code, out, _ = run(capsys, "show", "prompt", kind, "--constitution", str(file), "--principle", "2")
    assert code == 0
    cue = {"reply": "Assistant:", "critique": "Critique:", "revision": "Revision:", "comparison": "The answer is: (",
           "reasoning": "Let's think step by step:"}  # fmt: skip
    assert out.rstrip().endswith(cue[kind])
    said = {"reply": "Human:", "critique": "Say in what ways the last reply is unkind.",
            "revision": "Rewrite the reply so that nothing unkind is left in it.",
            "comparison": "Which of these replies is less unkind?",
            "reasoning": "Which of these replies is less unkind?"}  # fmt: skip
    assert said[kind] in out


def test_show_rules_prints_every_rule_with_what_becomes_of_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "rules")
    assert code == 0
    assert "critique_as_revision: revision -> malformed" in out
    assert "cut_off: reply, critique, revision -> truncated" in out


DRY = ["prompts.limit_red_team=4", "prompts.limit_helpful=2", "measure.limit=2", "engine.threads=1", "revision.steps=3"]


def test_a_dry_run_shows_settings_questions_and_costs_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for setting in DRY for word in ("--set", setting)]
    code, out, _ = run(capsys, "run", tmp_path / "new", "--recipe", "testbed", *words, "--dry-run")
    assert code == 0
    assert list(tmp_path.iterdir()) == []
    assert "limit_red_team: 4" in out
    for kind in ("reply", "critique", "revision", "reasoning", "comparison"):
        assert f"--- {kind}, 3 of 3: " in out
    assert re.search(r"critique-revision: critiques +12 ", out)
    assert "The whole run would take about" in out


def test_a_dry_run_of_a_finished_run_reads_it_and_leaves_it_as_it_is(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    code, out, _ = run(capsys, "run", finished.path, "--until", "responses", "--dry-run")
    assert code == 0
    assert "Not counted, because they are finished: prompts, responses, critique-revision, sl-cai" in out
    assert "Not counted, because they come after responses: critique-revision, sl-cai" in out
    code, _, err = run(capsys, "run", finished.path, "--set", "rl.steps=7", "--dry-run")
    assert (code, "rl.steps: 40 -> 7" in err) == (1, True)
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


def test_principles_that_are_not_there_are_refused_with_the_nearest_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = "revision.principles=[general-harm, violense]"
    code, _, err = run(capsys, "run", tmp_path / "run", "--recipe", "testbed", "--set", setting)
    assert code == 1
    assert "Did you mean 'violence'?" in err
    assert not (tmp_path / "run").exists()


def test_show_prompt_refuses_a_principle_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(CONSTITUTION)
    code, _, err = run(capsys, "show", "prompt", "critique", "--constitution", str(file), "--principle", "9")
    assert code == 1
    assert "--principle 1 to 8" in err


def test_show_recipe_spells_out_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "recipe", "testbed", "--set", "rl.steps=7")
    assert code == 0
    assert "steps: 7" in out
    assert "clip_ratio: 0.2" in out


def test_show_constitution_prints_no_escape_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(CONSTITUTION.replace("name: synthetic", 'name: "syn\\e[31mthetic\\x07"'))
    code, out, _ = run(capsys, "show", "constitution", file)
    assert code == 0
    assert out.startswith("synthetic\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("over\rwritten\b\b", "overwritten"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\x9b31mred", "31mred"),
        ("tab\tand\nline stay", "tab\tand\nline stay"),
        ("nul\x00 and surrogate\ud800", "nul and surrogate"),
    ],
)
def test_plain_takes_out_what_moves_a_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_clip_keeps_to_its_width() -> None:
    assert clip("one\ntwo three", 9) == "one two …"
    assert shorten("runs/one/08-rl-cai", 11) == "runs/…l-cai" and shorten("one\ntwo", 7) == "one two"


def test_an_error_line_stays_one_line_whatever_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "status", "no\nsuch\x1b[2Jrun")
    assert code == 1
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    """A pipeline that works until it is asked to stop replaces the real one; lock and signals are real."""
    code = (
        "import sys, time, types\n"
        "from solon.runs import Interrupted\n"
        "def run_stages(run, display, until, processes, place):\n"
        "    display.stage_started(1, 'prompts', 9)\n"
        "    for _ in range(500):\n"
        "        run.stop.obey(); time.sleep(0.02)\n"
        "pipeline = types.ModuleType('solon.pipeline.run_stages'); pipeline.run_stages = run_stages\n"
        "sys.modules['solon.pipeline.run_stages'] = pipeline\n"
        "from solon.cli.main import main\n"
        "main(['run', sys.argv[1], '--recipe', 'testbed'])\n"
    )
    folder = tmp_path / "a run"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Models: " in process.stderr.readline()
    assert "prompts" in process.stderr.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"solon run '{folder}'" in err
    assert "Traceback" not in err


def test_a_stage_that_there_is_not_is_refused_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "run", tmp_path / "run", "--until", "slcai")
    assert code == 1
    assert err == "Error: --until slcai: no such stage. Did you mean 'sl-cai'?\n"
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_trained_is_exported_as_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path / "run", Plan(red=2, held_out=2, stages=2))
    code, _, err = run(capsys, "export", "model", tmp_path / "run", tmp_path / "out")
    assert code == 1
    assert "'sl-cai' is not trained yet. Continue with: solon run" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_questions_that_measure_replies_are_shown_and_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "prompt", "against-baseline", "--principle", "3")
    assert code == 0 and "The message:" in out and "(B) " in out
    code, out, _ = run(capsys, "show", "prompt", "about-reply")
    assert code == 0 and "The message:" in out, "a reply is compared with a reference"
    code, out, _ = run(capsys, "show", "prompt", "about-reply", "--principle", "2")
    assert code == 0 and "(A) It says nothing about the matter" in out
    code, _, told = run(capsys, "show", "prompt", "about-reply", "--principle", "9")
    assert code == 1 and "there is no question 9. Give --principle 1 to 2" in told


def every_option(command: click.Command, name: str) -> Iterator[tuple[str, click.Option]]:
    """The options of a command and of the commands in it, with the command's words."""
    for option in command.params:
        if isinstance(option, click.Option):
            yield name, option
    if isinstance(command, click.Group):
        for each in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), each)
            assert found is not None
            yield from every_option(found, f"{name} {each}")


def test_no_option_takes_a_number_that_is_not_finite() -> None:
    numbers = {
        f"{name} {option.opts[0]}": option.type
        for name, option in every_option(cli, "solon")
        if isinstance(option.type, FloatParamType | click.FloatRange)
    }
    assert {"solon elo --anchor-at", "solon attack --threshold", "solon run --actor-cpus"} <= set(numbers)
    for name, kind in numbers.items():
        assert kind.convert("0.5", None, None) == 0.5
        for text in ("nan", "inf", "-inf", "1e999"):
            with pytest.raises(click.BadParameter):
                print(name, kind.convert(text, None, None))


def test_the_list_of_recipes_has_every_built_in_one_and_marks_those_that_are_overlays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(capsys, "show", "recipes")
    assert code == 0
    whole, overlays = (re.findall(r"^  (\S+)$", part, re.M) for part in out.split("Overlays (--overlay NAME)"))
    files = built_in(DATA / "recipes", (".yaml",))
    # What is laid over a recipe leaves the constitution and the seed to it.
    partial = [
        name for name, file in files.items() if not {"constitution", "seed"} & yaml.safe_load(file.read_text()).keys()
    ]
    assert overlays == partial and whole == [name for name in files if name not in partial]
    assert "  bai22\n    What is published of the reinforcement learning of Bai et al. 2022 (arXiv 2204.05862)" in out
    assert "#" not in out and all(len(line.strip()) > 2 for line in out.splitlines())
