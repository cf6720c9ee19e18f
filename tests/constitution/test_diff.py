"""What an edit changed, and the YAML of a constitution that reads back as it was."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.config.builtin import DATA, built_in
from solon.constitution.constitution import (
    ComparisonExample,
    Constitution,
    CritiqueExample,
    PreferencePrinciple,
    ReasonedExample,
    RevisionPrinciple,
)
from solon.constitution.diff import Change, EditKind, changes
from solon.constitution.reader import load_constitution
from solon.constitution.writer import write_constitution
from solon.conversation import Conversation, Role, Turn, is_blank

RULES = (RevisionPrinciple("a", "what?", "how?"), RevisionPrinciple("b", "who?", "when?"))
OLD = Constitution("house", "", RULES, (PreferencePrinciple("p", "which?"),))


def test_nothing_changed_is_nothing_found_and_order_does_not_count() -> None:
    assert changes(OLD, OLD) == []
    assert changes(OLD, Constitution("house", "", RULES[::-1], OLD.preference)) == []


def test_each_edit_is_named_by_section_id_and_field() -> None:
    talk = Conversation((Turn(Role.HUMAN, "hi"), Turn(Role.ASSISTANT, "ho")))
    new = Constitution(
        "house",
        "rules",
        (RevisionPrinciple("a", "what else?", "how?", weight=2.5), RevisionPrinciple("c", "x", "y")),
        OLD.preference,
        (CritiqueExample(talk, "r", "c", "rr", "v"),),
    )
    found = changes(OLD, new)
    assert [(change.section, change.id, change.edit) for change in found] == [
        ("constitution", "", EditKind.CHANGED),
        ("revision principle", "a", EditKind.CHANGED),
        ("revision principle", "b", EditKind.REMOVED),
        ("revision principle", "c", EditKind.ADDED),
        ("critique example", "1", EditKind.ADDED),
    ]
    assert found[1] == Change(
        "revision principle",
        "a",
        EditKind.CHANGED,
        {"critique_request": ("what?", "what else?"), "weight": ("1", "2.5")},
    )
    assert found[2].fields["critique_request"] == ("who?", None)
    assert found[4].fields["conversation"] == (None, "Human: hi\n\nAssistant: ho")


# Reading strips texts and refuses empty ones; half a character is no text in a file.
TEXT = (
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
    .map(str.strip)
    .filter(lambda text: not is_blank(text))
)
TWO = st.lists(TEXT, min_size=2, max_size=2, unique=True)
WEIGHT = st.sampled_from([0.25, 1.0, 3.0])


@st.composite
def constitutions(draw: st.DrawFn) -> Constitution:
    ids = draw(st.lists(TEXT, min_size=1, max_size=3, unique=True))
    turns = [Turn(Role.HUMAN, draw(TEXT)), Turn(Role.ASSISTANT, draw(TEXT)), Turn(Role.HUMAN, draw(TEXT))]
    asked, answered = Conversation(tuple(turns)), Conversation(tuple(turns[:2]))
    return Constitution(
        name=draw(TEXT),
        description=draw(TEXT | st.just("")),
        revision=tuple(RevisionPrinciple(id, draw(TEXT), draw(TEXT), draw(TEXT), draw(WEIGHT)) for id in ids),
        preference=tuple(PreferencePrinciple(id, draw(TEXT), weight=draw(WEIGHT)) for id in ids),
        critique_examples=(CritiqueExample(answered, draw(TEXT), draw(TEXT), draw(TEXT), draw(TEXT)),),
        comparison_examples=(ComparisonExample(asked, *draw(TWO)),),
        reasoned_examples=(ReasonedExample(asked, *draw(TWO), draw(TEXT), draw(st.sampled_from("AB"))),),
    )


@given(constitution=constitutions())
def test_a_written_constitution_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, constitution: Constitution
) -> None:
    path = tmp_path_factory.mktemp("c") / "c.yaml"
    path.write_text(write_constitution(constitution), encoding="utf-8", newline="\n")
    assert load_constitution(path) == constitution


@pytest.mark.parametrize("name", built_in(DATA / "constitutions", (".yaml",)))
def test_the_built_in_constitutions_are_written_readably(name: str, tmp_path: Path) -> None:
    constitution = load_constitution(DATA / "constitutions" / f"{name}.yaml")
    text = write_constitution(constitution)
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    assert load_constitution(tmp_path / "c.yaml") == constitution
    assert "weight" not in text.partition("examples:")[0] or any(p.weight != 1 for p in constitution.revision)
