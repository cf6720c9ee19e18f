"""The text form of what is scored: it gives the tokens of training, and a saved template writes it."""

from pathlib import Path

import pytest

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, Role, Turn
from solon.engines.templates import TRANSCRIPT_TEMPLATE
from solon.engines.tokens import PromptTokenizer
from solon.reward.scored_text import ScoredText
from solon.training.encoding import Encoding
from solon.training.models import load_tokenizer
from tests.training.tiny import save_tiny_model

# Ends its turns as many instruct models do: the end token, and a line feed behind it.
CHAT = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def talk(*texts: str) -> Conversation:
    roles = (Role.HUMAN, Role.ASSISTANT)
    return Conversation(tuple(Turn(roles[n % 2], text) for n, text in enumerate(texts)))


DIALOGUES = [
    talk("How do I bake bread ?", "First mix the flour ."),
    talk("yes", "no", "Tell me more", " spaces around "),
    talk("Human : {{ 1 }}\n\nAssistant", "Human :\n\nno"),
    talk("é ☃", "“yes”"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("texts") / "tiny")


def form(folder: Path, template: str | None = None, *, opening: bool = False) -> tuple[ScoredText, Encoding, object]:
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    if opening:  # as Llama's tokenizer sets its first token in front
        from tokenizers.processors import TemplateProcessing

        tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
        begin = ("<|begin|>", tokenizer.convert_tokens_to_ids("<|begin|>"))
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|begin|> $A", special_tokens=[begin])
    texts = PromptTokenizer.of(tokenizer, EngineSettings())
    return ScoredText(texts), Encoding(texts, 512), tokenizer


@pytest.mark.parametrize("template", [None, CHAT], ids=["transcript", "chat"])
@pytest.mark.parametrize("opening", [False, True], ids=["plain", "begun"])
def test_a_text_gives_the_tokens_that_training_saw(folder: Path, template: str | None, opening: bool) -> None:
    texts, encoding, _ = form(folder, template, opening=opening)
    for dialogue, tokens in zip(DIALOGUES, encoding.whole(DIALOGUES), strict=True):
        text = texts.text(dialogue)
        assert texts.tokens(text) == tokens
        assert text.endswith("<|end|>") and text.startswith("<|begin|>") == (opening and template is None)


@pytest.mark.parametrize("template", [None, CHAT], ids=["transcript", "chat"])
@pytest.mark.parametrize("opening", [False, True], ids=["plain", "begun"])
def test_the_saved_template_writes_that_text(folder: Path, template: str | None, opening: bool) -> None:
    texts, encoding, tokenizer = form(folder, template, opening=opening)
    tokenizer.chat_template = encoding.tokenizer.saved_template()  # type: ignore[attr-defined]
    again = Encoding(PromptTokenizer.of(tokenizer, EngineSettings()), 512)
    assert again.tokenizer.rendering.name == encoding.tokenizer.rendering.name
    assert again.whole(DIALOGUES) == encoding.whole(DIALOGUES)
    for dialogue in DIALOGUES:
        written = tokenizer.apply_chat_template(dialogue.messages(), tokenize=False)  # type: ignore[attr-defined]
        assert written == texts.text(dialogue)


def test_words_that_close_a_turn_are_kept_before_the_end_token(folder: Path) -> None:
    texts, encoding, tokenizer = form(folder, CHAT.replace("eos_token", "'<over>'"))
    assert texts.text(talk("yes", "no", "yes", "no")) == (
        "<user>yes<over>\n<assistant>no<over>\n<user>yes<over>\n<assistant>no<over><|end|>"
    )
    assert encoding.tokenizer.rendering.stops() == ("<over>",)
    tokenizer.chat_template = encoding.tokenizer.saved_template()  # type: ignore[attr-defined]
    for dialogue in DIALOGUES:
        written = tokenizer.apply_chat_template(dialogue.messages(), tokenize=False)  # type: ignore[attr-defined]
        assert written == texts.text(dialogue)


@pytest.mark.parametrize(
    "behind", ["", "<|end|>", "<|end|>\n", "<|end|><|pad|><|pad|>", "<|end|> <|end|>\n\n", "<|pad|>"]
)
def test_whatever_stands_behind_the_end_one_end_token_is_scored(folder: Path, behind: str) -> None:
    texts, encoding, _ = form(folder)
    (tokens,) = encoding.whole(DIALOGUES[1:2])
    assert texts.tokens(f"{texts.text(DIALOGUES[1]).removesuffix('<|end|>')}{behind}") == tokens


def test_an_end_token_within_the_text_is_left_there(folder: Path) -> None:
    texts, encoding, _ = form(folder)
    tokens = texts.tokens("\n\nHuman: a<|end|> b\n\nAssistant: c")
    assert tokens.count(encoding.end) == 2


def test_long_runs_of_end_tokens_are_read_in_linear_time(folder: Path) -> None:
    texts, encoding, _ = form(folder)
    assert texts.tokens("a" + "<|end|> " * 100_000) == (*texts.tokens("a")[:-1], encoding.end)


def test_the_transcript_template_refuses_roles_it_cannot_label(folder: Path) -> None:
    from jinja2.exceptions import TemplateError

    tokenizer = load_tokenizer(folder)
    with pytest.raises(TemplateError):
        tokenizer.apply_chat_template([{"role": "robot", "content": "x"}], chat_template=TRANSCRIPT_TEMPLATE)
