"""Prompts of exactly so many tokens, of words drawn at random.

Only words that are one token after a space are drawn, so that a text of n words is n tokens in a transcript. Speed does
not depend on what prompts say, as long as no contestant can end a text before its planned length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peers.tasks import Phase
from solon.config.recipe import EngineSettings, RenderingKind
from solon.conversation import Prompt, Role, Turn
from solon.engines.local.choose import choice_of
from solon.engines.tokens import PromptTokenizer
from solon.errors import StageError
from solon.model_folders.load import load_tokenizer

MOST_WORDS = 4000


class PlannedTexts:
    """Draws turns for the tokenizer of a model folder; the same seed gives the same texts."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        """Raises StageError for a tokenizer with hardly any word of one token."""
        self.tokenizer = load_tokenizer(folder)
        self.tokens = PromptTokenizer.of(self.tokenizer, EngineSettings(rendering=RenderingKind.TRANSCRIPT))
        self._chance = random.Random(seed)
        known = {each.strip("Ġ▁ ").lower() for each in self.tokenizer.get_vocab() if each[:1] in "Ġ▁"}
        plain = sorted(each for each in known if each.isascii() and each.isalpha() and len(each) > 2)[:MOST_WORDS]
        single = self.tokens.encode_whole([f" {each}" for each in plain])
        self.words = [word for word, ids in zip(plain, single, strict=True) if len(ids) == 1]
        if len(self.words) < 50:
            raise StageError("this tokenizer has too few words of one token", place=str(folder))

    def turn(self, role: Role, words: int) -> Turn:
        """A turn of so many words."""
        return Turn(role, " ".join(self._chance.choices(self.words, k=words)))

    def sized(self, make: Callable[[int], Prompt], tokens: int) -> Prompt:
        """The prompt that `make` gives for a number of words, with so many tokens in all."""
        most = tokens - self.tokens.count_tokens(make(1)) + 1
        # Where two turns meet, a token more or less may come of other words.
        for _ in range(20):
            prompt = make(max(1, most))
            found = self.tokens.count_tokens(prompt)
            if found == tokens:
                return prompt
            most += tokens - found
        raise StageError(f"no prompt of {tokens} tokens was found")

    def phase(self, prompts: Sequence[Prompt], limits: Sequence[int]) -> Phase:
        """The phase that asks for texts of these lengths; all prompts begin with the same turns."""
        rows = self.tokens.rows(prompts)
        return self._phase(prompts, [(*row.prefix, *row.own) for row in rows], limits, len(rows[0].prefix))

    def choice(self, prompts: Sequence[Prompt], letters: Sequence[str]) -> tuple[Phase, tuple[int, ...]]:
        """The phase that asks for one of the letters, and the letters' tokens."""
        texts = ["".join(self.tokens.rendering.render(each)) for each in prompts]
        bare, shared = self.tokens.encode(texts), len(self.tokens.rows(prompts)[0].prefix)
        continued = [self.tokens.encode([text + letter for letter in letters]) for text in texts]
        choices = [choice_of(ids, more, letters) for ids, more in zip(bare, continued, strict=True)]
        options = {tuple(each[0] for each in choice.options) for choice in choices if choice.single}
        if len(options) != 1:
            raise StageError("the letters are not the same single tokens after every prompt")
        return self._phase(prompts, [each.context for each in choices], (), shared), options.pop()

    def _phase(
        self, prompts: Sequence[Prompt], whole: Sequence[Sequence[int]], limits: Sequence[int], cut: int
    ) -> Phase:
        first = prompts[0]
        if any(ids[:cut] != whole[0][:cut] for ids in whole):
            raise StageError("the prompts do not begin with the same tokens")
        return Phase(
            whole[0][:cut],
            [ids[cut:] for ids in whole],
            list(limits),
            _turns(first.turns[: first.shared]),
            [_turns(each.turns[each.shared :]) for each in prompts],
            first.reply_as.value,
            first.opening,
        )


def _turns(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    return [(each.role.value, each.content) for each in turns]
