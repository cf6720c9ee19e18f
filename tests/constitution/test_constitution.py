from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.config.recipe import FeedbackSettings, RevisionSettings
from solon.constitution.constitution import (
    Constitution,
    PreferencePrinciple,
    RevisionPrinciple,
    draw,
    preference_principles,
    revision_principles,
)
from solon.constitution.reader import load_constitution
from solon.conversation import Role, Turn
from solon.errors import ConstitutionError, RecipeError

WHOLE = """\
name: house
description: Rules of the house.
revision:
  - id: privacy
    critique_request: Does the reply tell private facts?
    revision_request: Leave private facts out.
  - id: violence
    critique_request: |
      Does the reply help someone: to hurt others?

      Say how.
    revision_request: No
    axis: safety
    weight: 2
preference:
  - id: privacy
    instruction: Which keeps secrets?
examples:
  critique:
    - conversation:
        - {role: human, content: "Where does she live?"}
        - {role: assistant, content: "In Main Street."}
      critique_request: Is it private?
      critique: It is.
      revision_request: Leave it out.
      revision: I will not say.
  comparison:
    - conversation: |

        Human: Hi: there

        Assistant: Hello

        Human: Go on
      better: Gladly.
      worse: No.
  reasoned:
    - conversation: [{role: human, content: hi}]
      option_a: a
      option_b: b
      reasoning: Because.
      answer: (b)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "house.yaml"
    path.write_text(WHOLE)
    return path


def test_everything_is_read(file: Path) -> None:
    constitution = load_constitution(file)
    assert constitution.name == "house"
    assert constitution.revision[0] == RevisionPrinciple(
        "privacy", "Does the reply tell private facts?", "Leave private facts out."
    )
    violence = constitution.revision[1]
    assert violence.critique_request == "Does the reply help someone: to hurt others?\n\nSay how."
    assert (violence.revision_request, violence.axis, violence.weight) == ("No", "safety", 2.0)
    assert constitution.preference == (PreferencePrinciple("privacy", "Which keeps secrets?"),)
    assert constitution.critique_examples[0].conversation.turns[1] == Turn(Role.ASSISTANT, "In Main Street.")
    assert [turn.content for turn in constitution.comparison_examples[0].conversation.turns] == [
        "Hi: there",
        "Hello",
        "Go on",
    ]
    assert constitution.reasoned_examples[0].answer == "B"


def test_hash_follows_the_content_and_not_the_layout(file: Path) -> None:
    before = load_constitution(file).hash
    file.write_text("# a remark\n" + WHOLE)
    assert load_constitution(file).hash == before
    file.write_text(WHOLE.replace("Say how.", "Say why."))
    assert load_constitution(file).hash != before


BROKEN = [
    ("name: house", "name: [house", 1, "broken YAML near the key 'name'"),
    ("name: house", "name: 'house", 1, "broken YAML near the key 'name'"),
    ("    instruction: Which", "     instruction: Which", 17, "broken YAML near the key 'instruction'"),
    ("name: house", "nmae: house", 1, "unknown key 'nmae' in the constitution. Did you mean 'name'?"),
    ("    critique_request: Does the reply tell", "    critique_reqest: Does", 5, "Did you mean 'critique_request'?"),
    ("    instruction: Which keeps secrets?", "    axis: x", 16, "preference 1: the key 'instruction' is missing"),
    ("  - id: violence", "  - id: privacy", 7, "duplicate revision principle id 'privacy', first in line 4"),
    ("critique: It is.", "critique: ", 24, "'critique' of critique 1 is empty"),
    ("critique: It is.", "critique: '  '", 24, "'critique' of critique 1 is empty"),
    ("critique: It is.", 'critique: "\\u200b"', 24, "'critique' of critique 1 is empty"),
    ("worse: No.", "worse: Gladly.", 36, "'better' and 'worse' of comparison 1 are the same text"),
    ("option_b: b", "option_b: a", 40, "'option_a' and 'option_b' of reasoned 1 are the same text"),
    ("weight: 2", "weight: -2", 14, "'weight' of revision 2 must be a number of at least 0, not -2"),
    ("weight: 2", "weight: .nan", 14, "must be a number"),
    ("weight: 2", "weight: heavy", 14, "must be a number"),
    ("    axis: safety", "    id: again", 13, "duplicate key 'id' in revision 2, first in line 7"),
    ("revision: I will not say.", "revision: [x]", 26, "'revision' of critique 1 must be text"),
    ("role: human, content: hi", "role: judge, content: hi", 38, "role 'judge' is unknown"),
    ("Human: Hi: there", "Hi there", 28, "a transcript must begin with 'Human:'"),
    ("\n        Human: Go on\n", "\n", 28, "must end on a turn of the human"),
    ("answer: (b)", "answer: c", 42, "'answer' of reasoned 1 must be A or B"),
    ("description: Rules of the house.", "description: \x07", 2, "character that YAML does not allow"),
    ("preference:\n", "preference: none\nrest:\n", 16, "unknown key 'rest'"),
]


@pytest.mark.parametrize(("old", "new", "line", "cause"), BROKEN, ids=[cause[:40] for *_, cause in BROKEN])
def test_a_fault_is_named_with_its_line(file: Path, old: str, new: str, line: int, cause: str) -> None:
    assert old in WHOLE
    file.write_text(WHOLE.replace(old, new, 1))
    with pytest.raises(ConstitutionError) as caught:
        load_constitution(file)
    assert caught.value.place == f"{file}:{line}"
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["revision", "preference"])
@pytest.mark.parametrize("written", ["", " []", " null"])
def test_a_constitution_without_principles_is_refused(tmp_path: Path, kind: str, written: str) -> None:
    blocks = {
        "revision": "\n  - {id: a, critique_request: b, revision_request: c}",
        "preference": "\n  - {id: a, instruction: b}",
        kind: written,
    }
    path = tmp_path / "c.yaml"
    path.write_text("name: x\n" + "".join(f"{key}:{block}\n" for key, block in blocks.items()))
    with pytest.raises(ConstitutionError, match=f"the constitution has no {kind} principles"):
        load_constitution(path)


def test_all_weights_zero_is_refused(file: Path) -> None:
    file.write_text(WHOLE.replace("    instruction:", "    weight: 0\n    instruction:"))
    with pytest.raises(ConstitutionError, match="all preference principles have weight 0"):
        load_constitution(file)


@pytest.mark.parametrize(("content", "cause"), [("", "the file is empty"), ("- a", "a mapping"), ("{}", "name")])
def test_a_file_that_is_no_constitution(tmp_path: Path, content: str, cause: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(ConstitutionError, match=cause):
        load_constitution(path)


def test_a_missing_file_and_a_file_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConstitutionError, match="no such file"):
        load_constitution(tmp_path / "none.yaml")
    (tmp_path / "c.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConstitutionError, match="not UTF-8 text"):
        load_constitution(tmp_path / "c.yaml")


def test_no_tag_builds_an_object(file: Path) -> None:
    file.write_text(WHOLE.replace("name: house", "name: !!python/object/apply:os.getcwd []"))
    with pytest.raises(ConstitutionError, match="'name' of the constitution must be text"):
        load_constitution(file)


@given(st.binary(max_size=200))
def test_no_bytes_raise_another_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    with pytest.raises(ConstitutionError):
        load_constitution(path)


# Draws ------------------------------------------------------------------------------------------------------------


def principles(count: int, *, text: str = "x", weight: float = 1.0) -> list[PreferencePrinciple]:
    return [PreferencePrinciple(f"p{number}", text, weight=weight) for number in range(count)]


ROWS = [f"row {number}" for number in range(3000)]


def test_draws_follow_the_weights() -> None:
    weighted = [PreferencePrinciple(f"p{weight}", "x", weight=weight) for weight in (0.0, 1.0, 2.0, 5.0)]
    counts = Counter(draw(weighted, 0, row, 1).weight for row in ROWS)
    assert counts[0.0] == 0
    for weight in (1.0, 2.0, 5.0):
        share, spread = weight / 8, (weight / 8 * (1 - weight / 8) / len(ROWS)) ** 0.5
        assert abs(counts[weight] / len(ROWS) - share) < 4 * spread


def test_editing_a_text_moves_no_draw() -> None:
    before = [draw(principles(16), 0, row).id for row in ROWS]
    assert [draw(principles(16, text="edited"), 0, row).id for row in ROWS] == before


def test_order_in_the_file_moves_no_draw() -> None:
    assert [draw(principles(16), row) for row in ROWS] == [draw(principles(16)[::-1], row) for row in ROWS]


def test_adding_the_nth_principle_moves_one_nth_of_the_draws_and_only_to_it() -> None:
    before = [draw(principles(15), 0, row).id for row in ROWS]
    after = [draw(principles(16), 0, row).id for row in ROWS]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"p15"}
    assert abs(len(moved) / len(ROWS) - 1 / 16) < 4 * (1 / 16 * 15 / 16 / len(ROWS)) ** 0.5


def test_step_and_seed_give_other_draws() -> None:
    by_key = [[draw(principles(16), *key, row).id for row in ROWS] for key in ((0, 1), (0, 2), (1, 1))]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        same = sum(a == b for a, b in zip(by_key[one], by_key[other], strict=True)) / len(ROWS)
        assert abs(same - 1 / 16) < 0.02


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.text())
def test_a_draw_is_always_one_of_positive_weight(weights: list[float], row: str) -> None:
    listed = [PreferencePrinciple(f"p{number}", "x", weight=weight) for number, weight in enumerate(weights)]
    if not any(weights):
        with pytest.raises(ValueError, match="positive weight"):
            draw(listed, row)
    else:
        assert draw(listed, row).weight > 0


class TestRevisionPrinciples:
    CONSTITUTION = Constitution(
        "small", "", tuple(RevisionPrinciple(name, "Say.", "Rewrite.") for name in ("harm", "law", "tone")), ()
    )

    def ids(self, **settings: object) -> list[str]:
        chosen = revision_principles(RevisionSettings.model_validate(settings), self.CONSTITUTION)
        return [principle.id for principle in chosen]

    def test_all_by_default_and_the_first_or_the_named_ones_when_asked(self) -> None:
        assert self.ids() == ["harm", "law", "tone"]
        assert self.ids(number_of_principles=2) == ["harm", "law"]
        assert self.ids(principles=["tone", "harm"]) == ["tone", "harm"]
        assert self.ids(principles=["tone", "harm"], number_of_principles=1) == ["tone"]

    def test_an_unknown_one_is_refused_with_the_nearest(self) -> None:
        with pytest.raises(RecipeError, match=r"revision\.principles: .*no revision principle 'tome'.*'tone'"):
            self.ids(principles=["harm", "tome"])

    def test_too_many_and_twice_the_same_are_refused(self) -> None:
        with pytest.raises(RecipeError, match=r"number_of_principles: 4 .* there are 3.*number_of_principles=3"):
            self.ids(number_of_principles=4)
        with pytest.raises(RecipeError, match="'law' is named twice"):
            self.ids(principles=["law", "law"])

    def test_weights_of_zero_cannot_be_all_there_is(self) -> None:
        muted = Constitution("muted", "", (RevisionPrinciple("harm", "Say.", "Rewrite.", weight=0.0),), ())
        with pytest.raises(RecipeError, match="weight above 0"):
            revision_principles(RevisionSettings(), muted)


class TestPreferencePrinciples:
    CONSTITUTION = Constitution(
        "small", "", (), tuple(PreferencePrinciple(name, "Choose.") for name in ("a", "b", "c"))
    )

    def test_all_by_default_and_the_first_when_asked(self) -> None:
        chosen = {
            number: preference_principles(FeedbackSettings(number_of_principles=number), self.CONSTITUTION)
            for number in (None, 1, 3)
        }
        assert {number: "".join(each.id for each in them) for number, them in chosen.items()} == {
            None: "abc", 1: "a", 3: "abc",
        }  # fmt: skip

    def test_too_many_or_only_muted_ones_are_refused(self) -> None:
        with pytest.raises(RecipeError, match=r"feedback\.number_of_principles: 4 .* there are 3"):
            preference_principles(FeedbackSettings(number_of_principles=4), self.CONSTITUTION)
        muted = Constitution("muted", "", (), (PreferencePrinciple("a", "Choose.", weight=0.0),))
        with pytest.raises(RecipeError, match="weight"):
            preference_principles(FeedbackSettings(), muted)
