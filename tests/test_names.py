"""One name, one thing: no two modules and no two classes of the package share a name."""

import ast
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "solon"
FILES = sorted(path for path in SOURCE.rglob("*.py") if "data" not in path.relative_to(SOURCE).parts)


def repeated(named: list[tuple[str, Path]]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for name, path in named:
        places[name].append(str(path.relative_to(SOURCE)))
    return {name: found for name, found in places.items() if len(found) > 1}


def one_letter_apart(one: str, other: str) -> bool:
    """Whether a letter changed, added or left out makes one word the other."""
    if len(one) == len(other):
        return sum(a != b for a, b in zip(one, other, strict=True)) == 1
    short, long = sorted((one, other), key=len)
    return len(long) == len(short) + 1 and any(long[:at] + long[at + 1 :] == short for at in range(len(long)))


def test_repeats_are_seen() -> None:
    named = [("one", SOURCE / "a.py"), ("two", SOURCE / "b.py"), ("one", SOURCE / "c.py")]
    assert repeated(named) == {"one": ["a.py", "c.py"]}


def test_no_two_modules_share_a_name() -> None:
    assert len(FILES) > 10
    assert repeated([(path.stem, path) for path in FILES if not path.stem.startswith("__")]) == {}


def test_no_names_of_modules_differ_by_one_letter() -> None:
    """`label.py` and `labels.py` are told apart by nobody."""
    stems = sorted({path.stem for path in FILES if not path.stem.startswith("__") and len(path.stem) > 3})
    assert [(one, other) for one, other in combinations(stems, 2) if one_letter_apart(one, other)] == []


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [("label", "labels", True), ("judge", "fudge", True), ("page", "pages", True), ("page", "text", False)],
)
def test_one_letter_apart(one: str, other: str, apart: bool) -> None:
    assert one_letter_apart(one, other) is apart is one_letter_apart(other, one)


def test_no_two_classes_share_a_name() -> None:
    classes = [
        (node.name, path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 100
    assert repeated(classes) == {}
