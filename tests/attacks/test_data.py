"""Hostile data: bombs, half characters and terminal escapes in what people bring end in one clear line, at once."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from solon.config import json_lines
from solon.config.experiment import load_experiment
from solon.config.loading import load_recipe
from solon.constitution.formats.catalogue import read_parts
from solon.constitution.formats.paper_chains import read_chains
from solon.constitution.reader import load_constitution
from solon.errors import ConstitutionError, InputError, RecipeError, SolonError
from solon.reward.score_file import read_scorable
from solon.sources.comparison_files import read_comparisons
from solon.sources.pair_files import read_pairs
from solon.sources.prompt_files import read_prompts
from tests.cli.test_cli import run

DEEP = 5_000
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML_BOMBS = {
    "flow lists": "name: " + "[" * DEEP,
    "closed flow lists": "name: " + "[" * DEEP + "]" * DEEP,
    "flow mappings": "name: " + "{a: " * DEEP,
    "block lists": "- " * DEEP,
    "mapping keys": "? " * DEEP,
    "indented mappings": "".join(f"{' ' * n}a:\n" for n in range(200)),
    "laughs": LAUGHS,
    "a chain of aliases": "a: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60)),
    "a loop": "name: &loop\n  - *loop\n",
    "a large file": "name: " + "x" * (2 << 20),
    "half a character": 'name: "\\ud800"',
    "no character": 'name: "\\UFFFFFFFF"',
    "an object": "name: !!python/object/apply:os.system [id]",
}


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 4


def one_line(error: SolonError) -> str:
    message = str(error)
    assert "\n" not in message and len(message) < 1000, message[:2000]
    return message


@pytest.mark.parametrize("text", YAML_BOMBS.values(), ids=YAML_BOMBS)
@pytest.mark.parametrize("read", [load_recipe, load_constitution, load_experiment])
def test_yaml_bombs(tmp_path: Path, read: Callable[[Path], object], text: str) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises((RecipeError, ConstitutionError)) as error:
        read(path)
    assert one_line(error.value).startswith(f"{path}"), "the file is named"


@pytest.mark.parametrize("bomb", ["[" * DEEP, "{a: " * DEEP, "&a [*a]", "x" * 500_000])
def test_bombs_as_settings(tmp_path: Path, bomb: str) -> None:
    (tmp_path / "r.yaml").write_text("seed: 1\n")
    with pytest.raises(RecipeError, match=r"^--set rl=") as error:
        load_recipe(tmp_path / "r.yaml", (), [f"rl={bomb}"])
    one_line(error.value)


JSON_BOMBS = {
    "lists": '{"prompt": ' + "[" * 100_000,
    "closed lists": '{"prompt": ' + "[" * 900 + "]" * 900 + "}",
    "objects": '{"prompt": ' + '{"a": ' * 900 + "1" + "}" * 901,
    "a long number": '{"prompt": "a", "pair": ' + "9" * 100_000 + "}",
    "a great number": '{"prompt": "a", "pair": 1e400}',
    "half a character": '{"prompt": "\\udfff", "chosen": "a", "rejected": "b"}',
    "half a key": '{"prompt": [{"role": "user", "content": "x", "\\udfff": 1}], "chosen": "a", "rejected": "b"}',
    "a key twice": '{"prompt": "a", "prompt": "b"}',
    "NaN": '{"prompt": NaN, "chosen": NaN, "rejected": NaN}',
    "no text": '{"prompt": "a", "chosen": {"a": 1}, "rejected": 1}',
}


@pytest.mark.parametrize("line", JSON_BOMBS.values(), ids=JSON_BOMBS)
@pytest.mark.parametrize("read", [read_comparisons, read_pairs, lambda path: list(read_scorable(path))])
def test_json_bombs_in_pairs(tmp_path: Path, read: Callable[[Path], object], line: str) -> None:
    path = tmp_path / "bomb.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(InputError) as error:
        read(path)
    assert one_line(error.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize("line", list(JSON_BOMBS.values())[:-1], ids=list(JSON_BOMBS)[:-1])
def test_json_bombs_in_prompts(tmp_path: Path, line: str) -> None:
    for name, text in (("bomb.jsonl", f"\n{line}\n"), ("bomb.json", f"[\n{line}\n]")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InputError) as error:
            read_prompts(path)
        assert one_line(error.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize("text", JSON_BOMBS.values(), ids=JSON_BOMBS)
@pytest.mark.parametrize("read", [read_parts, read_chains])
def test_json_bombs_in_the_formats_of_others(tmp_path: Path, read: Callable[[Path], object], text: str) -> None:
    path = tmp_path / "bomb.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read(path)
    assert one_line(error.value).startswith(f"{path}")


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST", 1 << 16)
    for name in ("bomb.jsonl.gz", "bomb.txt.gz", "bomb.csv.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(b"\n" + b" " * (50 << 20)))
        with pytest.raises(InputError, match=rf"{name}:2: the line has more than"):
            read_prompts(path)


ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


def test_escapes_in_names_and_data_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / f"in{ESCAPE}"
    folder.mkdir()
    pairs, rules = folder / "pairs.jsonl", folder / "rules.yaml"
    pairs.write_text(json.dumps({ESCAPE: 1, "prompt": f"{ESCAPE}", "outcome": ESCAPE, "responses": ["a", "b"]}) + "\n")
    rules.write_text(f"name: x\n{json.dumps(ESCAPE)}: y\n{json.dumps(ESCAPE)}: z\n")
    (folder / "recipe.yaml").write_text(f"{json.dumps(ESCAPE)}: y\n")
    for arguments in (
        ("label", tmp_path / "out", pairs, "-q"),
        ("constitution", "check", rules),
        ("constitution", "new", rules),
        ("show", "recipe", folder / "recipe.yaml"),
        ("show", "recipe", "testbed", "--set", f"{ESCAPE}=1"),
        ("label", tmp_path / "out", pairs, "-q", "--columns", ESCAPE),
        ("score", pairs, "--model", tmp_path),
    ):
        code, out, err = run(capsys, *arguments)
        assert code == 1 and err, arguments
        assert not set("\x1b\x07\x9b\u202e") & set(out + err), (arguments, err)
