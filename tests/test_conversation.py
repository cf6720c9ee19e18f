import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.conversation import (
    Conversation,
    Prompt,
    Role,
    TranscriptRendering,
    Turn,
    conversation_of,
    parse_transcript,
    transcript,
)
from solon.errors import InputError

# What people write: lines with colons, blank lines, and speakers' names within a line.
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=30)
words = st.sampled_from(["Note: this", "the Human: he said", "a\n\nb", "x:\n\ny: z", "Assistant: in line", "Human"])
contents = st.lists(st.one_of(lines, words), min_size=1, max_size=4).map("\n\n".join).map(str.strip)


def opens_no_turn(text: str) -> bool:
    return not any(f"\n\n{name}:" in f"\n\n{text}" for name in ("Human", "Assistant"))


turns = st.lists(contents.filter(opens_no_turn), min_size=1, max_size=5).map(
    lambda texts: tuple(
        Turn(Role.HUMAN if number % 2 == 0 else Role.ASSISTANT, text) for number, text in enumerate(texts)
    )
)


@given(turns)
def test_a_transcript_survives_the_round_trip(spoken: tuple[Turn, ...]) -> None:
    assert parse_transcript(transcript(spoken)) == Conversation(spoken)


@given(turns)
def test_messages_survive_the_round_trip(spoken: tuple[Turn, ...]) -> None:
    conversation = Conversation(spoken)
    assert conversation_of(conversation.messages()) == conversation


def test_multi_turn_with_colons_and_blank_lines() -> None:
    text = "\n\nHuman: Two things: a\n\nb: c\n\nAssistant: He said Human: hi\n\nNote: this\n\nHuman: Go on"
    assert parse_transcript(text).turns == (
        Turn(Role.HUMAN, "Two things: a\n\nb: c"),
        Turn(Role.ASSISTANT, "He said Human: hi\n\nNote: this"),
        Turn(Role.HUMAN, "Go on"),
    )


@pytest.mark.parametrize("text", ["", "hello", "hello\n\nHuman: hi", "Human hi"])
def test_text_without_an_opening_label_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^prompts\.jsonl:3: a transcript opens with 'Human:'"):
        parse_transcript(text, place="prompts.jsonl:3")


@pytest.mark.parametrize("message", [{"role": "tool", "content": "x"}, {"role": "user"}, {"content": "x"}])
def test_a_bad_message_is_refused_by_number_and_place(message: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"^file:7: message 2 needs a role"):
        conversation_of([{"role": "user", "content": "hi"}, message], place="file:7")


def test_row_id_depends_on_roles_and_contents_only() -> None:
    human, assistant = Turn(Role.HUMAN, "hi"), Turn(Role.ASSISTANT, "hi")
    assert Conversation((human,)).row_id == Conversation((Turn(Role.HUMAN, "hi"),)).row_id
    assert len({Conversation(turns).row_id for turns in ((human,), (assistant,), (human, assistant), ())}) == 4


def test_transcript_rendering_reads_as_the_paper_has_it() -> None:
    spoken = (Turn(Role.QUESTION, "Which?"), Turn(Role.ANSWER, "(A)"), Turn(Role.HUMAN, "hi"))
    shared, own = TranscriptRendering().render(Prompt(spoken, Role.CRITIQUE, opening="So", shared=2))
    assert shared == "\n\nWhich?\n\nThe answer is: (A)"
    assert own == "\n\nHuman: hi\n\nCritique: So"


@given(turns, st.integers(0, 5))
def test_the_shared_cut_never_changes_what_is_read(spoken: tuple[Turn, ...], shared: int) -> None:
    rendering = TranscriptRendering()
    whole = "".join(rendering.render(Prompt(spoken)))
    assert "".join(rendering.render(Prompt(spoken, shared=min(shared, len(spoken))))) == whole
    assert whole.endswith("\n\nAssistant:")
