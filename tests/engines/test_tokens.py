"""Cutting prompts into shared and own tokens, for tokenizers of both families."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solon.conversation import Prompt, Role, TranscriptRendering, Turn
from solon.engines.rendering import ChatRendering
from solon.engines.tokens import PromptTokenizer
from tests.engines.tiny import (
    CHATML_WITH_SYSTEM,
    byte_tokenizer,
    chat_tokenizer,
    metaspace_tokenizer,
    question,
    questions,
    with_example,
)


def tokenizers() -> dict[str, PromptTokenizer]:
    chat = chat_tokenizer(CHATML_WITH_SYSTEM)
    return {
        "byte-level": PromptTokenizer(byte_tokenizer(), TranscriptRendering()),
        "metaspace": PromptTokenizer(metaspace_tokenizer(), TranscriptRendering()),
        "chat": PromptTokenizer(chat, ChatRendering(chat)),
    }


@pytest.mark.parametrize("name", list(tokenizers()))
def test_a_special_token_that_somebody_spelled_out_is_plain_text(name: str) -> None:
    tokens = tokenizers()[name]
    special = set(tokens.tokenizer.all_special_ids)
    spelled = "".join(tokens.tokenizer.all_special_tokens)
    plain, hostile = (
        tokens.encode(["".join(tokens.rendering.render(Prompt((Turn(Role.HUMAN, f"say {said}"),), Role.ASSISTANT)))])[0]
        for said in ("it", f"it {spelled}")
    )
    assert [token for token in hostile if token in special] == [token for token in plain if token in special]
    ((replied, start),) = tokens.replied([question("it")], [f"well {spelled}"])
    assert special & set(replied[start:]) == {tokens.end}


@pytest.mark.parametrize("name", list(tokenizers()))
def test_prefix_and_own_part_are_the_whole_prompt_tokenized_together(name: str) -> None:
    tokens = tokenizers()[name]
    prompts = [*map(with_example, questions(5)), *questions(3)]
    rows = tokens.rows(prompts)
    for prompt, row in zip(prompts, rows, strict=True):
        text = "".join(tokens.rendering.render(prompt))
        assert [row.prefix + row.own] == tokens.encode([text])
        assert row.own
    assert len({row.prefix for row in rows[:5]}) == 1
    assert len(rows[0].prefix) >= 16
    assert [row.prefix for row in rows[5:]] == [()] * 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=4), st.sampled_from(["byte-level", "metaspace", "chat"]))
def test_any_text_may_follow_the_shared_part(texts: list[str], name: str) -> None:
    tokens = tokenizers()[name]
    prompts = [with_example(question(text)) for text in texts]
    for prompt, row in zip(prompts, tokens.rows(prompts), strict=True):
        assert [row.prefix + row.own] == tokens.encode(["".join(tokens.rendering.render(prompt))])


def test_a_merge_across_the_border_costs_one_token_of_sharing() -> None:
    class Glued:
        """Shared text with a last character that merges with the next one."""

        name = "glued"

        def render(self, prompt: Prompt) -> tuple[str, str]:
            return "The answer is: read my letters and bake the bread (", prompt.turns[0].content

        def completion(self, reply: str, reply_as: Role = Role.ASSISTANT) -> str:
            return reply

        def stops(self) -> tuple[str, ...]:
            return ()

    tokens = PromptTokenizer(metaspace_tokenizer(), Glued())
    (shared,) = tokens.encode(["The answer is: read my letters and bake the bread ("])
    merged, plain = tokens.rows([question("A) x"), question("z")])
    assert merged.prefix == plain.prefix == shared[:-1]
    assert [merged.prefix + merged.own] == tokens.encode(["The answer is: read my letters and bake the bread (A) x"])


@pytest.mark.parametrize(("tokenizer", "opens"), [(byte_tokenizer(), 0), (metaspace_tokenizer(), 1)])
def test_a_transcript_opens_as_the_tokenizer_does_and_stays_open(tokenizer: Any, opens: int) -> None:
    tokens = PromptTokenizer(tokenizer, TranscriptRendering())
    (row,) = tokens.rows([question("bake")])
    assert row.own[0] == opens
    assert row.own[-1] != tokenizer.eos_token_id
    assert tokenizer.decode(list(row.own[1:])).endswith("Human: bake\n\nAssistant:")


def test_a_chat_prompt_gets_no_token_beyond_its_template() -> None:
    tokens = tokenizers()["chat"]
    (row,) = tokens.rows([Prompt((Turn(Role.HUMAN, "bake"),), opening="Sure")])
    text = tokens.decode(row.own)
    assert text == "".join(tokens.rendering.render(Prompt((Turn(Role.HUMAN, "bake"),), opening="Sure")))
    assert not text.startswith("<eos>")


def test_a_reply_is_tokenized_as_it_follows_the_prompt() -> None:
    for name, wanted in (("byte-level", " Fine.<eos>"), ("chat", "Fine.<|im_end|>")):
        tokens = tokenizers()[name]
        ((replied, start),) = tokens.replied([question("it")], ["Fine."])
        assert tokens.decode(replied[start:]) == wanted
        assert replied[-1] == tokens.end


def test_special_tokens_show_in_decoded_text() -> None:
    tokens = tokenizers()["chat"]
    assert tokens.decode(tokens.encode(["a<|im_start|>user"])[0]) == "a<|im_start|>user"
