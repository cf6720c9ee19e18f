"""Chat templates: sides, cues, openings, cuts and stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from solon import prompts
from solon.config.recipe import EngineSettings, RenderingKind
from solon.constitution.constitution import ComparisonExample, PreferencePrinciple, ReasonedExample
from solon.conversation import Prompt, Role, TranscriptRendering, Turn
from solon.engines.rendering import ChatRendering, rendering_for
from solon.errors import ModelError
from tests.engines.tiny import (
    BRACKETS,
    CHATML,
    CHATML_WITH_SYSTEM,
    byte_tokenizer,
    chat_tokenizer,
    conversation,
    question,
    with_example,
)

TAIL = "<|im_start|>assistant\n"


def chat(template: str = CHATML) -> ChatRendering:
    return ChatRendering(chat_tokenizer(template))


def test_requests_are_user_turns_and_the_models_words_assistant_turns() -> None:
    prompt = Prompt(
        (
            Turn(Role.HUMAN, "How?"),
            Turn(Role.ASSISTANT, "So."),
            Turn(Role.CRITIQUE_REQUEST, "Name it."),
            Turn(Role.CRITIQUE, "Bad."),
            Turn(Role.REVISION_REQUEST, "Mend it."),
        ),
        Role.REVISION,
    )
    shared, own = chat().render(prompt)
    sides = ["user", "assistant", "user", "assistant", "user"]
    said = ["How?", "So.", "Name it.", "Bad.", "Mend it."]
    assert shared == ""
    assert own == "".join(f"<|im_start|>{a}\n{b}<|im_end|>\n" for a, b in zip(sides, said, strict=True)) + TAIL


def test_neighbours_of_one_side_are_merged() -> None:
    turns = (Turn(Role.HUMAN, "One."), Turn(Role.QUESTION, "Two?"))
    _, own = chat().render(Prompt(turns, Role.ANSWER, opening="("))
    assert own == "<|im_start|>user\nOne.\n\nTwo?<|im_end|>\n" + TAIL + "The answer is: ("


@pytest.mark.parametrize("template", [CHATML, CHATML_WITH_SYSTEM, BRACKETS])
def test_the_shared_part_is_a_prefix_of_the_whole(template: str) -> None:
    rendering = chat(template)
    asked = with_example(question("And bread?"))
    shared, own = rendering.render(asked)
    nothing_shared, whole = rendering.render(Prompt(asked.turns))
    assert nothing_shared == ""
    assert shared + own == whole
    assert "break their trust." in shared and "And bread?" in own
    # A second prompt behind the same example gets the same cut.
    assert rendering.render(with_example(question("x")))[0] == shared


def test_a_template_that_looks_ahead_shares_nothing() -> None:
    rendering = chat("{{ messages|length }} turns. " + CHATML)
    asked = with_example(question("And bread?"))
    more = replace(asked, turns=(*asked.turns, Turn(Role.ASSISTANT, "Bake."), Turn(Role.HUMAN, "How long?")))
    shared, own = rendering.render(more)
    assert shared == ""
    assert own.startswith("5 turns. ")


def test_a_comparison_ends_on_the_papers_words_and_its_bracket() -> None:
    principle = PreferencePrinciple(id="kind", instruction="Which is kinder?")
    _, own = chat().render(prompts.comparison(conversation("Hi"), principle, "Go away", "Hello"))
    assert own.endswith("(A) Go away\n(B) Hello<|im_end|>\n" + TAIL + "The answer is: (")


@pytest.mark.parametrize(
    ("template", "stops"),
    [
        (CHATML, ("<|im_end|>", "<|im_start|>")),
        (CHATML_WITH_SYSTEM, ("<|im_end|>", "<|im_start|>")),
        (BRACKETS, ("</s>",)),
    ],
)
def test_stops_are_read_off_the_template(template: str, stops: tuple[str, ...]) -> None:
    assert chat(template).stops() == stops


def test_a_template_without_special_tokens_stops_at_its_words() -> None:
    words = (
        "{% for m in messages %}{{ '\\n\\n' }}{{ 'Human: ' if m['role'] == 'user' else 'Bot: ' }}{{ m['content'] }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '\\n\\nBot:' }}{% endif %}"
    )
    rendering = chat(words)
    assert rendering.stops() == ("\n\nHuman:",)
    assert rendering.completion("Hi") == " Hi"
    assert rendering.render(question("a")) == ("", "\n\nHuman: a\n\nBot:")


@pytest.mark.parametrize(("template", "lead"), [(CHATML, ""), (BRACKETS, " ")])
def test_a_reply_follows_its_prompt_as_the_template_has_it(template: str, lead: str) -> None:
    rendering = chat(template)
    assert rendering.completion("Fine.") == f"{lead}Fine."
    followed = "".join(rendering.render(question("a"))) + rendering.completion("Fine.")
    more = Prompt((Turn(Role.HUMAN, "a"), Turn(Role.ASSISTANT, "Fine."), Turn(Role.HUMAN, "b")))
    assert "".join(rendering.render(more)).startswith(followed)


def test_system_words_are_a_user_turn_where_a_template_has_no_system() -> None:
    turns = (Turn(Role.SYSTEM, "Be kind."), Turn(Role.HUMAN, "Hi"))
    assert chat(BRACKETS).render(Prompt(turns)) == ("", "<s>[INST] Be kind.\n\nHi [/INST]")
    assert chat(CHATML).render(Prompt(turns))[1].startswith("<|im_start|>system\nBe kind.<|im_end|>")


def test_turns_that_a_template_refuses_give_one_line() -> None:
    with pytest.raises(ModelError, match="must alternate") as caught:
        chat(BRACKETS).render(Prompt((Turn(Role.ASSISTANT, "Hello"), Turn(Role.HUMAN, "Hi"))))
    assert "rendering=transcript" in caught.value.remedy


def test_a_template_that_hides_replies_is_refused() -> None:
    with pytest.raises(ModelError, match="assistant's turns"):
        chat("{{ messages[0]['content'] }}")


@pytest.mark.parametrize(
    ("make", "kind", "expected"),
    [
        (chat_tokenizer, RenderingKind.AUTO, "chat"),
        (chat_tokenizer, RenderingKind.CHAT, "chat"),
        (chat_tokenizer, RenderingKind.TRANSCRIPT, "transcript"),
        (byte_tokenizer, RenderingKind.AUTO, "transcript"),
        (byte_tokenizer, RenderingKind.TRANSCRIPT, "transcript"),
    ],
)
def test_the_recipe_chooses_the_rendering(make: Callable[[], Any], kind: RenderingKind, expected: str) -> None:
    assert rendering_for(make(), EngineSettings(rendering=kind)).name == expected


def test_chat_without_a_template_is_refused() -> None:
    with pytest.raises(ModelError, match="no chat template"):
        rendering_for(byte_tokenizer(), EngineSettings(rendering=RenderingKind.CHAT))
    assert isinstance(rendering_for(byte_tokenizer(), EngineSettings()), TranscriptRendering)


def test_worked_reasoning_and_the_question_have_one_shape() -> None:
    """Each is one assistant turn: the paper's opening, the reasoning, "The answer is" and the letter."""
    better = PreferencePrinciple(id="kind", instruction="Which is kinder?")
    example = ReasonedExample(conversation("Hi"), "Hello", "Go away", "Greetings are kind.", "A")
    asked = prompts.reasoning(conversation("Bye"), better, "Stay away", "See you", [(example, better)])
    rendering = chat()
    reasoning = "".join(rendering.render(asked))
    verdict = "".join(rendering.render(prompts.verdict(asked, "Farewells are kind.")))
    worked, question = verdict.split("<|im_start|>assistant\n")[1:]
    shape = "Let's think step by step: {}\n\nThe answer is: ("
    assert worked.startswith(shape.format("Greetings are kind.") + "A)<|im_end|>")
    assert question == shape.format("Farewells are kind.")
    assert reasoning.endswith(TAIL + "Let's think step by step:") and verdict.startswith(reasoning)


def test_a_plain_answer_has_the_papers_words_in_examples_and_question() -> None:
    better = PreferencePrinciple(id="kind", instruction="Which is kinder?")
    example = (ComparisonExample(conversation("Hi"), "Hello", "Go away"), better, "B")
    shown = "".join(chat().render(prompts.comparison(conversation("Bye"), better, "a", "b", [example])))
    assert shown.count("The answer is: (") == 2
    assert TAIL + "The answer is: (B)<|im_end|>" in shown and shown.endswith(TAIL + "The answer is: (")


def test_a_letter_without_an_opening_follows_its_label() -> None:
    rendering = chat(BRACKETS)
    bare = Prompt((Turn(Role.QUESTION, "Which?"),), Role.ANSWER)
    assert "".join(rendering.render(bare)) == "<s>[INST] Which? [/INST] The answer is:"
    assert rendering.completion("(A", Role.ANSWER) == " (A"
