"""The paper's, llm-swarm's and LangChain's constitutions: read, written back, and nothing dropped in silence."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.constitution.formats import samples

from solon.constitution.constitution import Constitution, PreferencePrinciple, RevisionPrinciple
from solon.constitution.formats.catalogue import Format, read_parts, write_constitution_as
from solon.constitution.formats.json_nodes import differing
from solon.constitution.formats.parts import Parts, join
from solon.conversation import Role
from solon.errors import InputError

PUBLISHED = samples.published("prompts")


def written(folder: Path, content: object, name: str = "file.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read(folder: Path, content: object) -> Parts:
    return read_parts(written(folder, content))[1]


def test_the_papers_instructions(tmp_path: Path) -> None:
    parts = read(tmp_path, samples.INSTRUCTIONS)
    assert [principle.id for principle in parts.revision] == ["harmful0", "harmful1", "harmful2"]
    assert parts.revision[1].critique_request == "What theft: of any kind does the last reply show?"
    assert parts.revision[1].revision_request == "Write it again without theft: of any kind."
    assert parts.losses == ()


def test_the_papers_worked_critiques_with_and_without_the_dangling_label(tmp_path: Path) -> None:
    parts = read(tmp_path, samples.FEW_SHOT)
    first, second = parts.critique_examples
    assert [turn.role for turn in first.conversation.turns] == [Role.HUMAN, Role.ASSISTANT] * 2
    assert first.critique == "It helps a burglar.\n\nAnd it is illegal."
    assert first.revision == "I would rather not; ask them for a key."
    assert (second.conversation.turns[1].content, second.revision) == ("Hi: there.", "A very good day to you.")
    # The second one lacks what the others end on, which a constitution cannot say.
    assert [loss.partition(":")[0] for loss in parts.losses] == ["item 2"]


def test_the_papers_preference_files(tmp_path: Path) -> None:
    parts = read(tmp_path, samples.PREFERENCES)
    assert [(p.id, p.instruction) for p in parts.preference] == [
        ("instruction0", "Choose the kinder reply."),
        ("instruction1", "Which reply is more honest?"),
    ]
    compared = read(tmp_path, samples.COMPARISONS)
    assert (compared.comparison_examples[1].better, len(compared.comparison_examples[1].conversation.turns)) == (
        "One\n\ntwo",
        3,
    )
    reasoned = read(tmp_path, samples.REASONED)
    (example,) = reasoned.reasoned_examples
    assert (example.option_a, example.option_b, example.answer) == ("No [not now]", "Gladly.\n\nHere it is.", "B")
    assert example.reasoning == "(A) turns them away.\n\nSo (B) is better."
    assert [turn.content for turn in example.conversation.turns] == ["Hello", "Hi", "Tell me more"]
    assert parts.losses == compared.losses == reasoned.losses == ()


def test_llm_swarm_and_langchain(tmp_path: Path) -> None:
    swarm = read(tmp_path, samples.SWARM)
    assert [(p.id, p.critique_request) for p in swarm.revision] == [
        ("principle-1", "Say what is rude."),
        ("principle-2", "Say what is false."),
    ]
    (example,) = swarm.critique_examples
    assert (len(example.conversation.turns), example.critique, example.revision) == (2, "All of it.", "Welcome!")
    chain = read(tmp_path, samples.LANGCHAIN)
    assert [p.id for p in chain.revision] == ["polite", "true"]
    camel = {p["name"]: {"critiqueRequest": p["critique_request"], "revisionRequest": p["revision_request"]}
             for p in samples.LANGCHAIN}  # fmt: skip
    assert read(tmp_path, camel).revision == chain.revision
    assert swarm.losses == chain.losses == ()


def test_names_that_stand_twice_become_two_ids_and_it_is_said(tmp_path: Path) -> None:
    twice = [{key: entry[key] for key in ("critique_request", "revision_request")} for entry in samples.LANGCHAIN]
    parts = read(tmp_path, twice)
    assert [p.id for p in parts.revision] == ["Constitutional Principle", "Constitutional Principle-2"]
    assert any("gets the id 'Constitutional Principle-2'" in loss for loss in parts.losses)


def test_what_has_no_place_is_named(tmp_path: Path) -> None:
    told = [{**samples.LANGCHAIN[0], "description": "On manners.", "severity": 3}, samples.LANGCHAIN[1]]
    assert read(tmp_path, told).losses == (
        "item 1, 'description': not supported, and left out",
        "item 1, 'severity': not supported, and left out",
    )
    swarm = {**samples.SWARM, "author": "someone"}
    assert read(tmp_path, swarm).losses == ("'author': not supported, and left out",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"a": 1}, r"file\.json: unknown format of the file.*Known: "),
        ([], "unknown format of the file"),
        ({"constitutions": []}, "no principle and no example"),
        ({"constitutions": [{"critic": "x"}]}, r"'constitutions', item 1: the key 'revision' is missing"),
        ({"constitutions": [{"critic": "x", "revision": 3}]}, r"item 1, 'revision': a text is expected here, not a nu"),
        ({"constitutions": [{"critic": "x", "revision": " "}]}, r"'revision': the text is empty"),
        ({"constitutions": [], "system_chat": [[{"role": "user", "content": "a"}]]}, "at least six messages"),
        ({"constitutions": [], "system_chat": [[{"role": "bot", "content": "a"}]]}, "the role 'bot' is unknown"),
        ({"h": {"prompt": ["Critique this"], "edit_request": "x"}}, r"'h', 'prompt', item 1: the request must"),
        (
            {"h": {"prompt": ["a", "b"], "edit_request": "x"}},
            r"'prompt': a list of one item is expected here, not of 2",
        ),
        (
            ["\n\nHuman: a\n\nAssistant: b\n\nCritiqueRequest: c\n\nCritique: d"],
            r"item 1: 'Rev",
        ),
        (
            ["\n\nHuman: a\n\nCritiqueRequest: c\n\nCritique: d\n\nRevisionRequest: e\n\nRevision: f"],
            "end on a turn of",
        ),
        (
            [{"prompt": "\n\nHuman: a\n\nAssistant: b", "corrects": ["c"], "incorrects": ["d"]}],
            "end on a turn of",
        ),
        ([{"prompt": "something"}], r"item 1, 'prompt': the example must show a conversation"),
    ],
)
def test_a_malformed_file_is_told_with_its_place(tmp_path: Path, content: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read(tmp_path, content)


def test_broken_json_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(InputError, match=r"broken\.json:2: broken JSON"):
        read_parts(path)
    path.write_text('{"a": 1, "a": 2}')
    with pytest.raises(InputError, match="duplicate key 'a'"):
        read_parts(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_parts(path)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"nested too deep|broken JSON"):
        read_parts(path)
    with pytest.raises(InputError, match="no such file"):
        read_parts(tmp_path / "none.json")


FOUND = [
    (samples.INSTRUCTIONS, "CritiqueRevisionInstructions.json"),
    (samples.FEW_SHOT[:1], "CritiqueRevisionFewShotPrompts.json"),
    (samples.PREFERENCES, "RLMadisonInstructions.json"),
    (samples.COMPARISONS, "RLMadisonFewShotPrompts.json"),
    (samples.REASONED, "RLMadisonPrecogFewShotPrompts.json"),
]


def joined(folder: Path, contents: list[tuple[Any, str]]) -> Constitution:
    found = [(folder / name, read_parts(written(folder, content, name))[1]) for content, name in contents]
    return join(found, "joined", None)[0]


def test_the_papers_files_become_one_constitution_and_come_back_as_they_were(tmp_path: Path) -> None:
    constitution = joined(tmp_path, FOUND)
    files, losses = write_constitution_as(Format.PAPER, constitution)
    assert {name: json.loads(content) for name, content in files.items()} == {name: each for each, name in FOUND}
    assert losses == ["the name 'joined'", "the description"]


def test_every_writer_names_what_it_leaves_out() -> None:
    constitution = Constitution(
        "house",
        "",
        (RevisionPrinciple("a", "b", "c", axis="honesty", weight=2.0), RevisionPrinciple("d", "e", "f")),
        (PreferencePrinciple("a", "b", weight=0.5),),
    )
    files, losses = write_constitution_as(Format.LANGCHAIN, constitution)
    assert json.loads(files["langchain.json"])[1] == {"name": "d", "critique_request": "e", "revision_request": "f"}
    assert losses == [
        "the name 'house'",
        "the axis of principle 'a'",
        "the weight of principle 'a'",
        "the 1 preference principles",
    ]
    assert "the ids of the principles" in write_constitution_as(Format.LLM_SWARM, constitution)[1]
    files, losses = write_constitution_as(Format.PAPER, constitution)
    assert list(json.loads(files["CritiqueRevisionInstructions.json"])) == ["harmful0", "harmful1"]
    assert sum("ids of the" in loss for loss in losses) == 2
    assert set(files) == {"CritiqueRevisionInstructions.json", "RLMadisonInstructions.json"}


def test_lacking_principles_are_never_made_up(tmp_path: Path) -> None:
    swarm = [(tmp_path / "s.json", read(tmp_path, samples.SWARM))]
    with pytest.raises(InputError, match=r"s\.json: no preference principles in the files.*--complete-with"):
        join(swarm, "s", None)
    other = Constitution("other", "", (RevisionPrinciple("x", "y", "z"),), (PreferencePrinciple("p", "q"),))
    made, said = join(swarm, "s", other)
    assert (made.preference, len(made.revision)) == (other.preference, 2)
    assert said == ["1 preference principles are those of 'other'"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).map(str.strip).filter(bool)


@given(requests=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_any_request_survives_every_format(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[str, str]]
) -> None:
    principles = tuple(RevisionPrinciple(f"harmful{number}", *pair) for number, pair in enumerate(requests))
    constitution = Constitution("c", "", principles, (PreferencePrinciple("instruction0", "Which?"),))
    folder = tmp_path_factory.mktemp("formats")
    for form, name in (
        (Format.PAPER, "CritiqueRevisionInstructions.json"),
        (Format.LANGCHAIN, "langchain.json"),
        (Format.LLM_SWARM, "llm-swarm.json"),
    ):
        (folder / name).write_text(write_constitution_as(form, constitution)[0][name], encoding="utf-8")
        parts = read_parts(folder / name)[1]
        assert [(p.critique_request, p.revision_request) for p in parts.revision] == requests
        assert parts.losses == ()


def test_differences_are_found_at_any_depth() -> None:
    here = {"a": [1, {"b": "x  y"}], "c": None, "d": "one two three", "e": [1, 2]}
    there = {"a": [1, {"b": "x y"}], "c": 3, "d": "one two four", "e": [1]}
    assert list(differing(here, here)) == []
    assert [loss.partition(":")[0] for loss in differing(here, there)] == [
        "'a', item 2, 'b'",
        "'c'",
        "'d'",
        "'e', item 2",
    ]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the paper's files are not there")
def test_the_published_files() -> None:
    found = [(path, read_parts(path)[1]) for path in sorted(PUBLISHED.glob("*.json"))]
    constitution = join(found, "paper", None)[0]
    assert (len(constitution.revision), len(constitution.preference)) == (16, 16)
    counts = (constitution.critique_examples, constitution.comparison_examples, constitution.reasoned_examples)
    assert [len(each) for each in counts] == [5, 5, 6]
    losses = {path.name: [loss.partition(":")[0] for loss in parts.losses] for path, parts in found if parts.losses}
    # One worked critique lacks the dangling label; three reasoned examples begin in their own ways.
    assert losses == {
        "CritiqueRevisionFewShotPrompts.json": ["item 4"],
        "RLMadisonPrecogFewShotPrompts.json": ["item 1, 'prompt'", "item 4, 'prompt'", "item 5, 'prompt'"],
    }
    files = write_constitution_as(Format.PAPER, constitution)[0]
    for name in ("CritiqueRevisionInstructions.json", "RLMadisonInstructions.json", "RLMadisonFewShotPrompts.json"):
        assert json.loads(files[name]) == json.loads((PUBLISHED / name).read_text(encoding="utf-8"))
