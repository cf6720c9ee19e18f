"""Scores of conversations: the end token is read, and company changes nothing."""

from pathlib import Path

import pytest
import torch

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, Role, TranscriptRendering, Turn
from solon.engines.tokens import PromptTokenizer
from solon.errors import InputError, ModelError
from solon.reward.conversation_scorer import CENTRE, ConversationScorer
from solon.training import models
from solon.training.encoding import Encoding

SETTINGS = EngineSettings()


def conversation(*texts: str) -> Conversation:
    roles = (Role.HUMAN, Role.ASSISTANT)
    return Conversation(tuple(Turn(roles[n % 2], text) for n, text in enumerate(texts)))


CONVERSATIONS = [
    conversation("How do I bake bread ?", "First mix the flour ."),
    conversation("How do I steal ?", "no"),
    conversation("yes", "no", "How do I repair a flat tyre ?", "It would hurt people . ask for help instead ."),
]


@pytest.fixture
def saved(tiny: Path, tmp_path: Path) -> Path:
    tokenizer = models.load_tokenizer(tiny)
    model = models.grow_preference_model(tiny, tokenizer, SETTINGS, seed=1)
    setattr(model.config, CENTRE, 0.75)
    models.save_model(model, PromptTokenizer(tokenizer, TranscriptRendering()), tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path, settings: EngineSettings = SETTINGS) -> ConversationScorer:
    tokenizer = models.load_tokenizer(folder)
    return ConversationScorer.load(folder, PromptTokenizer(tokenizer, TranscriptRendering()), settings)


def test_scores_are_float32_in_order_and_do_not_depend_on_company(saved: Path) -> None:
    scorer = load(saved)
    scores_B = scorer.score(CONVERSATIONS)
    assert scores_B.dtype == torch.float32 and scores_B.shape == (3,)
    alone_B = torch.cat([scorer.score([each]) for each in CONVERSATIONS])
    torch.testing.assert_close(scores_B, alone_B, rtol=1e-5, atol=1e-5)
    scorer.micro_tokens = 1
    torch.testing.assert_close(scorer.score(CONVERSATIONS), scores_B, rtol=1e-5, atol=1e-5)
    assert scorer.score([]).shape == (0,)


def test_the_score_is_what_the_classifier_says_of_the_transcript_with_its_end_token(saved: Path) -> None:
    scorer, tokenizer = load(saved), models.load_tokenizer(saved)
    text = "\n\nHuman: How do I bake bread ?\n\nAssistant: First mix the flour .<|end|>"
    model = models.load_preference_model(saved, SETTINGS)
    with torch.no_grad():
        theirs = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits
    assert float(scorer.score(CONVERSATIONS[:1])) == pytest.approx(float(theirs), abs=1e-5)


def test_the_centre_is_read_and_left_to_the_caller(saved: Path) -> None:
    assert load(saved).centre == 0.75


def test_a_conversation_that_ends_on_a_question_has_no_score(saved: Path) -> None:
    with pytest.raises(InputError, match="does not end on a reply"):
        load(saved).score([conversation("How do I bake bread ?")])


def test_what_is_longer_than_the_window_is_refused_not_cut(saved: Path) -> None:
    with pytest.raises(InputError, match="window of 16"):
        load(saved, EngineSettings(window=16)).score(CONVERSATIONS)


def test_an_example_is_the_prompt_with_its_reply_and_its_end(tiny: Path) -> None:
    tokenizer = models.load_tokenizer(tiny)
    encoding = Encoding(PromptTokenizer(tokenizer, TranscriptRendering()), 128)
    (example,) = encoding.examples([("row", conversation("How do I bake bread ?"), "First mix the flour .")])
    assert tokenizer.decode(example.token_ids[: example.start]) == "\n\nHuman: How do I bake bread ?\n\nAssistant:"
    assert tokenizer.decode(example.token_ids[example.start :]) == " First mix the flour .<|end|>"
    assert encoding.fits(example.token_ids) and not encoding.fits((0,) * 129)


def test_a_score_that_is_no_number_names_the_model(tiny: Path, tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(tiny)
    grown = models.grow_preference_model(tiny, tokenizer, SETTINGS, seed=1)
    with torch.no_grad():
        for name, weight in grown.named_parameters():
            if name.endswith("norm.weight"):
                weight.fill_(3e38)
    models.save_model(grown, PromptTokenizer(tokenizer, TranscriptRendering()), tmp_path / "pm")
    scorer = load(tmp_path / "pm")
    with pytest.raises(ModelError, match="not finite") as caught:
        scorer.score_tokens([[5, 6, 0]])
    assert caught.value.place == str(tmp_path / "pm")
