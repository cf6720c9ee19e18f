"""How many tokens prompts take of the window of a model in a folder, without its weights.

The window and every count are those of the `LocalEngine` of the folder. A run that goes on only has to compare what it
has with what it would do, and for that no large model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from solon.config.recipe import EngineSettings
from solon.conversation import Prompt
from solon.engines.base import Choosing, Continuation
from solon.engines.local.engine import window_of
from solon.engines.tokens import PromptTokenizer
from solon.model_folders.folder_check import check_folder
from solon.model_folders.load import load_config, load_tokenizer


class FolderBudget:
    """See `solon.engines.base.TokenBudget`."""

    def __init__(self, folder: Path, settings: EngineSettings) -> None:
        """Raises ModelError when the folder is missing or holds no model, or the window is larger than the model's."""
        check_folder(folder)
        tokenizer = load_tokenizer(folder)
        self.window = window_of(load_config(folder), tokenizer, settings.window)
        self.choosing = Choosing.LOGPROBS
        self._tokens = PromptTokenizer.of(tokenizer, settings)

    def count_tokens(self, prompt: Prompt) -> int:
        return self._tokens.count_tokens(prompt)

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        return self._tokens.continuation(prompt, options)
