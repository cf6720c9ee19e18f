"""What holds on every family: one tokenization, the template's end of turn, folders that speak their own format."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from solon.config.recipe import EngineSettings, Thinking
from solon.conversation import Conversation
from solon.engines.local.engine import LocalEngine
from solon.engines.tokens import PromptTokenizer
from solon.errors import ModelError
from solon.prompts import reply as reply_prompt
from solon.training.models import load_causal_lm, save_model
from tests.families import checks
from tests.families.made import human, lessons, make_folder
from tests.families.styles import ALWAYS_THINKING, CHATML, STYLES
from tests.families.table import BEGIN, END, PAGE

REAL = Path(os.environ.get("SOLON_TOKENIZERS", "models/tokenizers"))
"""Real tokenizers, by `scripts/fetch_tokenizers.py`."""
ENDINGS = {
    "Llama 2": " </s>",
    "Llama 3": "<|eot_id|>",
    "Mistral": " </s>",
    "Zephyr, TinyLlama": "</s>",
    "Gemma 2": "<end_of_turn>",
    "Gemma 3": "<end_of_turn>",
    "Phi-3": "<|end|>",
    "GPT-NeoX, Pythia (no template)": "<|endoftext|>",
    "Vicuna (words for marks)": "</s>",
}
"""What ends a reply; `<|im_end|>` with all others."""
PIECES = ("\n", "\n\n", " ", "    ", "\t", "a", "Yes.", "(A)", "<b>", "é", "<|im_end|>", "</s>")
TAUGHT = ("Gemma 3", "Phi-3", "Qwen 2.5 base")
"""Families that are taught in every test run; the others in `make test-all`."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("families")
    return {name: make_folder(name, made / str(number)) for number, name in enumerate(STYLES)}


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("thinking", list(Thinking))
def test_what_is_trained_and_scored_is_what_is_read(folders: dict[str, Path], name: str, thinking: Thinking) -> None:
    texts = checks.texts_of(folders[name], EngineSettings(thinking=thinking))
    assert checks.trained_is_read(texts)
    assert texts.ending == ENDINGS.get(name, "<|im_end|>")


_MADE: dict[str, PromptTokenizer] = {}


def texts_named(name: str) -> PromptTokenizer:
    if name not in _MADE:
        _MADE[name] = PromptTokenizer.of(STYLES[name].make_tokenizer(), EngineSettings())
    return _MADE[name]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(STYLES)),
    st.text(max_size=20),
    st.lists(
        st.sampled_from(["\n", "\n\n", " ", "    ", "\t", "a", "Yes.", "(A)", "<b>", "é", "<|im_end|>", "</s>"])
    ).map("".join),
)
def test_any_reply_is_tokenized_in_one_piece_with_its_prompt(name: str, asked: str, reply: str) -> None:
    texts = texts_named(name)
    prompt = reply_prompt(human(asked))
    ((tokens, start),) = texts.replied([prompt], [reply])
    shown = texts.shown("".join(texts.rendering.render(prompt)) + texts.rendering.completion(reply))
    assert tokens == texts.encode_whole([shown + texts.ending])[0]
    assert tokens[:start] == texts.encode(["".join(texts.rendering.render(prompt))])[0][:start]
    assert tokens[-1] == texts.end and tokens.count(texts.end) == texts.encode([shown])[0].count(texts.end) + 1


@pytest.mark.parametrize("name", STYLES)
def test_a_preference_models_folder_gives_its_scores_through_its_own_template(
    folders: dict[str, Path], name: str, tmp_path: Path
) -> None:
    found = checks.replay(folders[name], tmp_path / "pm")
    assert found.rows == len(checks.DIALOGUES)
    assert found.templates == found.texts == found.rows
    assert found.transformers <= 1e-5 and found.solon <= 1e-5


@pytest.mark.parametrize("name", STYLES)
def test_a_value_head_reads_the_states_of_the_logits(folders: dict[str, Path], name: str) -> None:
    assert checks.values_come_from_the_pass_of_the_logits(folders[name])


@pytest.mark.parametrize("name", STYLES)
def test_a_pair_in_one_row_has_the_scores_of_two_rows(folders: dict[str, Path], name: str) -> None:
    assert checks.pairs_read_as_one_row(folders[name]) < 1e-5


def test_a_template_that_was_changed_after_saving_fails_the_check(folders: dict[str, Path], tmp_path: Path) -> None:
    assert checks.replay(folders["Phi-3"], tmp_path / "pm").passed
    (tmp_path / "pm" / "chat_template.jinja").write_text(STYLES["Phi-3"].template or "")
    found = checks.check(tmp_path / "pm")
    assert not found.passed and found.templates == 0


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("thinking", list(Thinking))
def test_a_policys_folder_carries_what_it_was_trained_in(
    folders: dict[str, Path], name: str, thinking: Thinking, tmp_path: Path
) -> None:
    texts = checks.texts_of(folders[name], EngineSettings(thinking=thinking))
    save_model(load_causal_lm(folders[name], EngineSettings()), texts, tmp_path / "saved")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "saved")
    again = checks.texts_of(tmp_path / "saved")
    for dialogue in checks.DIALOGUES:
        prompt, reply = reply_prompt(Conversation(dialogue.turns[:-1])), dialogue.turns[-1].content
        messages = texts.messages(dialogue.turns)
        ((tokens, start),) = texts.replied([prompt], [reply])
        assert tokenizer.apply_chat_template(messages, tokenize=False) == texts.text(prompt, reply)
        assert tuple(tokenizer.apply_chat_template(messages, return_dict=False)) == tokens
        assert again.replied([prompt], [reply])[0][0] == tokens
        if thinking is Thinking.OFF:
            cued = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
            assert tuple(cued) == tokens[:start]
    ends = json.loads((tmp_path / "saved" / "generation_config.json").read_text())["eos_token_id"]
    assert texts.end in ends and set(ends) == LocalEngine.load(folders[name]).end_tokens


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in TAUGHT else pytest.mark.slow) for name in STYLES]
)
def test_replies_of_several_lines_survive_here_and_elsewhere(name: str, tmp_path: Path) -> None:
    folder = make_folder(name, tmp_path / "taught", taught=True)
    assert checks.survives(folder)
    assert checks.survives_elsewhere(folder, tmp_path / "saved")


@pytest.mark.slow
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "LoRA"])
@pytest.mark.parametrize("name", STYLES)
def test_a_whole_run_ends(name: str, adapted: bool, tmp_path: Path) -> None:
    make_folder(name, tmp_path / "model", taught=True)
    rows = checks.run_ends(tmp_path, tmp_path / "run", checks.LORA if adapted else [])
    assert len(rows) == 9 and all(rows.values())
    for stage in ("04-sl-cai", "08-rl-cai"):
        again = checks.texts_of(tmp_path / "run" / stage / "model")
        assert checks.trained_is_read(again)


def test_a_name_picks_one_of_several_templates(folders: dict[str, Path]) -> None:
    tokenizer = STYLES["Qwen 2.5"].make_tokenizer()
    tokenizer.chat_template = {"tool_use": "{{ 1 }}", "rag": CHATML}  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"several chat templates and no default \(rag, tool_use\)") as caught:
        PromptTokenizer.of(tokenizer, EngineSettings())
    assert "engine.template=" in caught.value.remedy
    with pytest.raises(ModelError, match="no chat template named 'x'"):
        PromptTokenizer.of(tokenizer, EngineSettings(template="x"))
    texts = PromptTokenizer.of(tokenizer, EngineSettings(template="rag"))
    assert checks.trained_is_read(texts) and texts.saved_template().count("<|im_start|>") > 0


def test_the_day_of_a_template_is_the_runs_and_stays_with_the_folder(folders: dict[str, Path]) -> None:
    name = "SmolLM3 (date, thinking)"
    texts = checks.texts_of(folders[name], EngineSettings(date="2025-02-03"))
    shown = texts.text(reply_prompt(human("a")), "b")
    assert "Today is 03 February 2025." in shown
    texts.tokenizer.chat_template = texts.saved_template()
    assert "03 February 2025" in PromptTokenizer.of(texts.tokenizer, EngineSettings()).text(
        reply_prompt(human("a")), "b"
    )
    texts.tokenizer.chat_template = "{% set f = '%Y' %}{{ strftime_now(f) }}" + CHATML
    with pytest.raises(ModelError, match="computes today's date"):
        PromptTokenizer.of(texts.tokenizer, EngineSettings())


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'] / 0 }}", "refuses these turns"),
        ("{% for m in messages %}{{ m.content.nothing.more }}{% endfor %}", "refuses these turns"),
        ("{% for m in messages %}{{ m['content'] }", "refuses these turns"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}" + CHATML, "refuses these turns"),
        ("{% for i in range(10000000) %}x{% endfor %}" + CHATML, "refuses these turns"),
        (CHATML.replace("assistant\\n", "helper\\n"), "opens a new reply differently"),
        ("{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}", "once each"),
    ],
)
def test_a_template_that_cannot_serve_gives_one_line(template: str, message: str) -> None:
    tokenizer = STYLES["Qwen 2.5"].make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=message) as caught:
        PromptTokenizer.of(tokenizer, EngineSettings())
    assert "engine.rendering=transcript" in caught.value.remedy


def test_thoughts_begun_by_the_cue_are_closed_or_kept_open() -> None:
    tokenizer = STYLES["Qwen 2.5"].make_tokenizer()
    tokenizer.chat_template = ALWAYS_THINKING
    off = PromptTokenizer.of(tokenizer, EngineSettings())
    on = PromptTokenizer.of(tokenizer, EngineSettings(thinking=Thinking.ON))
    prompt, _ = lessons()[0]
    assert "".join(off.rendering.render(prompt)).endswith("assistant\n<think>\n\n</think>\n\n")
    assert "".join(on.rendering.render(prompt)).endswith("assistant\n<think>\n")
    assert off.opened_by(prompt) is None and on.opened_by(prompt) is not None
    assert off.text(prompt, "x") == on.text(prompt, "x")


@pytest.mark.parametrize("folder", sorted(REAL.iterdir()) if REAL.is_dir() else [], ids=lambda path: path.name)
def test_real_tokenizers_are_trained_as_they_are_read(folder: Path) -> None:
    for thinking in Thinking:
        texts = checks.texts_of(folder, EngineSettings(thinking=thinking))
        assert checks.trained_is_read(texts)
        tokenizer = texts.tokenizer
        tokenizer.chat_template = texts.saved_template()
        for dialogue in checks.DIALOGUES:
            prompt, reply = reply_prompt(Conversation(dialogue.turns[:-1])), dialogue.turns[-1].content
            ((tokens, start),) = texts.replied([prompt], [reply])
            shown = tokenizer.apply_chat_template(texts.messages(dialogue.turns), return_dict=False)
            assert tuple(shown) == tokens
            assert (
                reply.strip() in texts.decode(tokens[start:]) or texts.messages(dialogue.turns)[-1]["content"] != reply
            )


def test_the_page_has_a_row_for_every_family_and_no_check_that_failed() -> None:
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(STYLES)
    assert " NO " not in text and "inf" not in text
