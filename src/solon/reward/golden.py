"""Golden scores: the scores of a preference model when it was saved, in its folder, to compare with later ones.

Another library, another version or a server may read a model differently (another padding token, no end token, a mean
subtracted) without an error. So each folder holds conversations with their text, tokens and raw score, computed in
float32 from the weights as written. `check` computes the scores again, with plain transformers and with Solon's scorer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from solon.config.recipe import EngineSettings, Matmul
from solon.conversation import Conversation, conversation_of
from solon.errors import ModelError
from solon.model_folders.load import ModelHead, load_model, load_tokenizer
from solon.reward.scorer import PreferenceScorer, Zero, model_folder_in, open_scorer
from solon.runs.files import write_atomically
from solon.training.models import arithmetic

GOLDEN = "golden_scores.jsonl"
ROWS = 64
TOLERANCE = 1e-4
"""The greatest difference due to the order of float32 arithmetic, relative to scores beyond 1.

Sound models were off by up to 1.1e-5. Another padding or end token puts scores off by more than 1e-3.
"""
_BATCH = 8
_REMEDY = "Train it again, or restore the folder from a copy"


@dataclass(frozen=True, slots=True)
class Replay:
    """The greatest differences from the golden scores, and how many rows have the golden tokens.

    `texts` counts rows where the text gives these tokens, `templates` rows where the folder's own chat template does.
    """

    rows: int
    transformers: float
    solon: float
    texts: int
    templates: int

    @property
    def passed(self) -> bool:
        """Whether all scores and all tokens are equal."""
        read = min(self.texts, self.templates) == self.rows
        return read and max(self.transformers, self.solon) <= TOLERANCE


def exact(settings: EngineSettings) -> EngineSettings:
    """The settings with exact float32 products, in which golden scores are computed and compared."""
    return settings.model_copy(update={"matmul": Matmul.HIGHEST})


def write_golden(
    folder: Path, scorer: PreferenceScorer, conversations: Sequence[Conversation], settings: EngineSettings
) -> int:
    """Write the scores of the first conversations into a model folder; returns how many."""
    made = [(each, tokens) for each, tokens in zip(conversations, scorer.tokens(conversations), strict=True)]
    rows = [(each, tokens) for each, tokens in made if scorer.fits(tokens)][:ROWS]
    with arithmetic(exact(settings)):
        scores = scorer.score([tokens for _, tokens in rows], Zero.RAW)
    lines = [
        json.dumps(
            {
                "messages": scorer.texts.messages(conversation),
                "text": scorer.texts.text(conversation),
                "input_ids": tokens,
                "score": score,
            },
            allow_nan=False,
        )
        for (conversation, tokens), score in zip(rows, scores, strict=True)
    ]
    write_atomically(folder / GOLDEN, "".join(f"{line}\n" for line in lines))
    return len(rows)


def read_golden(folder: Path) -> list[dict[str, Any]]:
    """The golden rows of a model folder; raises ModelError with file and line of a damaged one."""
    path = folder / GOLDEN
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        why = "the folder holds no golden scores" if isinstance(error, FileNotFoundError) else f"unreadable: {error}"
        raise ModelError(why, place=str(path), remedy=_REMEDY) from None
    rows = [_row(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]
    if not rows:
        raise ModelError("the file of golden scores is empty", place=str(path), remedy=_REMEDY)
    return rows


def check(folder: Path, settings: EngineSettings | None = None) -> Replay:
    """Compute the golden scores of a model folder again; ModelError when it has none or cannot be loaded."""
    settings = exact(settings or EngineSettings())
    folder = model_folder_in(folder)
    rows = read_golden(folder)
    golden = [float(row["score"]) for row in rows]
    with arithmetic(settings):
        scorer = open_scorer(folder, settings)
        conversations = [conversation_of(row["messages"], place=str(folder / GOLDEN)) for row in rows]
        ours = scorer.score(scorer.tokens(conversations), Zero.RAW)
        texts = sum(list(scorer.texts.tokens(row["text"])) == row["input_ids"] for row in rows)
        theirs = plain_scores(folder, [row["input_ids"] for row in rows])
    tokenizer = load_tokenizer(folder)
    written = [plain_tokens(tokenizer, row["messages"]) for row in rows]
    templates = sum(tokens == row["input_ids"] for tokens, row in zip(written, rows, strict=True))
    return Replay(len(rows), furthest(theirs, golden), furthest(ours, golden), texts, templates)


def plain_tokens(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The tokens of a conversation by transformers and the folder's chat template; empty where it refuses.

    The template is applied without settings, as a stranger would.
    """
    from jinja2.exceptions import TemplateError

    try:
        return list(tokenizer.apply_chat_template(list(messages), tokenize=True, return_dict=False))
    except (TemplateError, ValueError, TypeError, KeyError):
        return []


def plain_scores(folder: Path, sequences: Sequence[Sequence[int]], *, padding_side: str = "right") -> list[float]:
    """Scores by plain transformers: padded batches with attention masks, in float32, on the GPU when there is one."""
    tokenizer = load_tokenizer(folder, padding_side=padding_side)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(ModelHead.CLASSIFIER, folder, dtype=torch.float32, device=device)
    scores: list[float] = []
    for start in range(0, len(sequences), _BATCH):
        part = [{"input_ids": list(each)} for each in sequences[start : start + _BATCH]]
        with torch.no_grad():
            padded = tokenizer.pad(part, return_tensors="pt").to(device)
            scores += model(**padded).logits.squeeze(-1).tolist()
    return scores


def furthest(found: Iterable[float], golden: Iterable[float]) -> float:
    """The greatest difference, relative to scores beyond 1; not-a-number counts as infinitely far."""
    gaps = [abs(one - other) / max(1.0, abs(other)) for one, other in zip(found, golden, strict=True)]
    return max(gap if gap == gap else float("inf") for gap in gaps)


def _row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        well_formed = (
            isinstance(row["text"], str)
            and all(isinstance(message, Mapping) for message in row["messages"])
            and all(type(token) is int for token in row["input_ids"])
            and isinstance(row["score"], float)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        well_formed = False
    if not well_formed:
        raise ModelError("a damaged golden score", place=place, remedy=_REMEDY)
    return dict(row)
