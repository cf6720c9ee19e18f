"""A model of a run as a trainer reads it: through its exported tokenizer and chat template.

The policy's exported chat template renders prompts as in the model's training. Its generation settings contain only the
tokens that end a reply, because trainers would also use sampling settings from that file.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from transformers import GenerationConfig, PreTrainedConfig

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation
from solon.engines.local.engine import end_tokens_of
from solon.engines.tokens import PromptTokenizer
from solon.model_folders.load import load_config, load_generation_config
from solon.training.encoding import Encoding, Tokens
from solon.training.models import load_tokenizer, window_in

Message = Mapping[str, str]
_ADAPTER = "adapter"


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A model folder of the run: its exported tokenizer, and Solon's own encoding for the model."""

    folder: Path
    config: PreTrainedConfig
    tokenizer: Any
    encoding: Encoding

    @property
    def ends(self) -> list[int]:
        """The tokens that end a reply."""
        known = SimpleNamespace(config=self.config, generation_config=load_generation_config(self.folder))
        return sorted(end_tokens_of(known, self.encoding.tokenizer.ends))

    def messages(self, conversation: Conversation) -> list[dict[str, str]]:
        """A conversation as messages for this model's chat template."""
        return self.encoding.tokenizer.messages(conversation.turns)

    def texts(self, messages: Sequence[Sequence[Message]]) -> list[str]:
        """Prompts as the exported chat template renders them."""
        return [
            str(self.tokenizer.apply_chat_template(list(each), add_generation_prompt=True, tokenize=False))
            for each in messages
        ]

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Rendered prompts as a trainer tokenizes them."""
        return [tuple(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]


def open_model(folder: Path, settings: EngineSettings) -> ExportedModel:
    """Open a model folder of the run."""
    config, tokenizer = load_config(folder), load_tokenizer(folder)
    texts = PromptTokenizer.of(tokenizer, settings)
    return ExportedModel(folder, config, tokenizer, Encoding(texts, window_in(config, settings)))


def open_policy(folder: Path, settings: EngineSettings) -> ExportedModel:
    """Open SL-CAI, with a chat template that renders a trainer's prompts as in the model's training."""
    model = open_model(folder, settings)
    model.tokenizer.chat_template = model.encoding.tokenizer.saved_template()
    return model


def copy_model(source: Path, folder: Path) -> None:
    """Copy a model folder without the adapter that was merged into it."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(_ADAPTER))


def write_policy(policy: ExportedModel, folder: Path) -> None:
    """Write the policy with its chat template and the tokens that end a reply."""
    copy_model(policy.folder, folder)
    policy.tokenizer.save_pretrained(folder)
    generation = cast(Any, GenerationConfig)(
        eos_token_id=policy.ends,
        bos_token_id=policy.tokenizer.bos_token_id,
        pad_token_id=policy.tokenizer.pad_token_id,
    )
    generation.save_pretrained(folder)
