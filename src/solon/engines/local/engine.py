"""The local engine: a transformers model in this process, on the CPU or a GPU.

Calls are cheap because all architectures use one cache layout and a shared prefix is read once. The engine drops
everything it computed from the weights as soon as they change, so an engine around a model in training (as in PPO)
always answers with the present weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from solon.config.hub_models import title_of
from solon.config.recipe import Dtype, EngineSettings, Precision, SamplingParams
from solon.conversation import Prompt
from solon.digest import digest_model
from solon.engines.base import Choosing, Completion, Continuation, window_filled
from solon.engines.local.batch import Prefixes
from solon.engines.local.causal_model import CausalModel
from solon.engines.local.choose import choice_of, choose
from solon.engines.local.faults import asking, refuse_undefined
from solon.engines.local.generation import Ending, GenerationRequest, generate
from solon.engines.local.row_budget import RowBudget
from solon.engines.thinking import without_thoughts
from solon.engines.tokens import PromptTokenizer
from solon.errors import ModelError
from solon.model_folders.folder_check import check_folder
from solon.model_folders.load import ModelHead, load_model, load_tokenizer
from solon.model_folders.model_window import first_frequencies, positions_of, window_in

_CHANGES = "changes the model's rotary frequencies (LongRoPE) for all rows that are read with it"
_OR_SERVED = ", or serve the model with an inference server"


class LocalEngine:
    """A causal language model and its tokenizer, asked in batches (see `solon.engines.base.Engine`)."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: EngineSettings | None = None,
        *,
        name: str = "local",
        precision: Precision = Precision.FLOAT32,
    ) -> None:
        """An engine around a loaded model; each call puts the model into evaluation mode.

        `precision` is that of a model in training; other models are asked in the type of their weights.

        Raises ModelError when model, tokenizer and settings do not fit together.
        """
        settings = settings or EngineSettings()
        known = model.get_input_embeddings().num_embeddings
        if len(tokenizer) > known:
            raise ModelError(
                f"the tokenizer has {len(tokenizer)} tokens, the model only {known}",
                place=name,
                remedy="Save model and tokenizer of the same training into one folder",
            )
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.name = name
        self.place = name
        """For errors: the model's folder if it was loaded from one, else its name."""
        self.choosing = Choosing.LOGPROBS
        self.model = model
        self.tokenizer = tokenizer
        self.window = window_of(model.config, tokenizer, settings.window)
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.tokens = PromptTokenizer.of(tokenizer, settings)
        self.rendering = self.tokens.rendering
        self.end_tokens = end_tokens_of(model, self.tokens.ends)
        self._prefixes = Prefixes()
        self._endings: dict[tuple[tuple[str, ...], frozenset[int]], Ending] = {}
        self._forward = CausalModel(model, self.window, precision)
        self.budget = RowBudget.of(settings, self._forward)
        found = (_cut_window(model, settings.window), self.budget.summary(self.window))
        self.remarks: Sequence[str] = tuple(remark for remark in found if remark)
        self._weights: object = None

    @classmethod
    def load(cls, folder: Path, settings: EngineSettings | None = None, *, device: str | None = None) -> LocalEngine:
        """The engine of a model folder.

        `device` defaults to `cuda` if there is one; with `settings.device_map` accelerate chooses. Weights are loaded
        as `settings.dtype`: by default as float32 on a CPU. Raises ModelError when the folder is missing or has no
        safetensors.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        check_folder(folder)
        tokenizer = load_tokenizer(folder)
        settings = settings or EngineSettings()
        dtype, spread = loaded_as(settings.dtype, device), settings.device_map
        found: list[str] = []
        model = load_model(
            ModelHead.LANGUAGE_MODEL, folder, dtype=dtype, device=device, device_map=spread, remarks=found
        )
        engine = cls(model, tokenizer, settings, name=f"{title_of(folder)}@{digest_model(folder)[:12]}")
        engine.place = str(folder)
        engine.remarks = (*found, *engine.remarks)
        return engine

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """A row near the end of the window gets only the tokens that are left."""
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        if not prompts:
            return []
        rows = self.tokens.rows(prompts)
        self._refuse_too_long([row.size for row in rows], 1)
        requests = [
            GenerationRequest(row, seed, min(sampling.max_tokens, self.window - row.size))
            for row, seed in zip(rows, seeds, strict=True)
        ]
        with asking(self.place, self.budget), _evaluating(self.model):
            written = generate(
                self._current(), requests, sampling, self._ending(tuple(stop)), self._prefixes, self.budget
            )
        return [
            without_thoughts(completion, self.tokens.tags, self.tokens.opened_by(prompt))
            for prompt, completion in zip(prompts, written, strict=True)
        ]

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Raises ModelError when two options have the same tokens."""
        if not prompts:
            return []
        rendered = [self.rendering.render(prompt) for prompt in prompts]
        texts = [shared + own for shared, own in rendered]
        choices = [
            choice_of(bare, continued, options)
            for bare, continued in zip(self.tokens.encode(texts), self.tokens.continued(texts, options), strict=True)
        ]
        self._refuse_too_long([len(choice.context) + max(map(len, choice.options)) - 1 for choice in choices], 0)
        shared = self.tokens.shared_lengths([part for part, _ in rendered], [choice.context for choice in choices])
        with asking(self.place, self.budget), _evaluating(self.model):
            chosen = choose(self._current(), choices, shared, self._prefixes, self.budget)
            refuse_undefined(chosen)
        return chosen

    def count_tokens(self, prompt: Prompt) -> int:
        return self.tokens.count_tokens(prompt)

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        return self.tokens.continuation(prompt, options)

    def counter(self) -> PromptTokenizer:
        """See `solon.engines.base.Countable`."""
        return self.tokens

    def refresh(self) -> None:
        """Drop everything computed from the weights; happens by itself when the weights change."""
        self._prefixes.forget()

    def _refuse_too_long(self, sizes: Sequence[int], needed: int) -> None:
        for number, size in enumerate(sizes):
            if size + needed > self.window:
                raise window_filled(size, self.window, f"{self.name}, row {number}")

    def _current(self) -> CausalModel:
        """The forward pass, after a refresh if the weights have changed."""
        weights = _fingerprint(self.model)
        if weights != self._weights:
            self.refresh()
            self._weights = weights
        return self._forward

    def _ending(self, stops: tuple[str, ...]) -> Ending:
        key = (stops, self.end_tokens)
        if key not in self._endings:
            self._endings[key] = Ending(self.tokens.decode, self.end_tokens, stops, lambda: self._token_texts)
        return self._endings[key]

    @cached_property
    def _token_texts(self) -> list[str]:
        return self.tokens.token_texts(len(self.tokenizer))


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode for the length of a block."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _fingerprint(model: Any) -> object:
    """Changes whenever a weight is written in place or replaced."""
    return tuple((weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in model.parameters())


def window_of(config: Any, tokenizer: Any, wanted: int | None) -> int:
    """The most tokens in a row; raises ModelError when `wanted` exceeds the model's own limit."""
    config = config.get_text_config(decoder=True)
    limit = window_in(config)
    if limit is None:
        # Tokenizers without a limit of their own report a huge number.
        limit = tokenizer.model_max_length if tokenizer.model_max_length < 1 << 24 else None
    if wanted is None:
        if limit is None:
            raise ModelError(
                "the model's config does not say how many tokens it reads", remedy="Use --set engine.window=2048"
            )
        return limit
    if limit is not None and wanted > limit:
        cut = limit == first_frequencies(config)
        reads = f"a row of more than {limit} tokens {_CHANGES}" if cut else f"the model reads {limit} tokens"
        raise ModelError(
            f"engine.window is {wanted}, but {reads}",
            remedy=f"Use --set engine.window={limit} or less{_OR_SERVED if cut else ''}",
        )
    return wanted


def _cut_window(model: Any, wanted: int | None) -> str | None:
    """One line for the console where the window is shorter than the model's positions without a setting, else None."""
    config = model.config.get_text_config(decoder=True)
    first, positions = first_frequencies(config), positions_of(config)
    if wanted is not None or first is None or positions is None or first >= positions:
        return None
    return f"the window is {first:,} tokens, not {positions:,}: a longer row {_CHANGES}"


def end_tokens_of(model: Any, own: Iterable[int]) -> frozenset[int]:
    """Tokens that end a reply: those of the tokenizer and its rendering, and those that the model's files name."""
    ends = set(own)
    for source in (getattr(model, "generation_config", None), model.config):
        found = getattr(source, "eos_token_id", None)
        ends |= {found} if isinstance(found, int) else set(found or ())
    return frozenset(ends)


def loaded_as(dtype: Dtype, device: str) -> torch.dtype | str:
    """The dtype to load weights in: by default float32 on a CPU, where it is fastest."""
    if dtype is Dtype.AUTO:
        return torch.float32 if device == "cpu" else "auto"
    return torch.float32 if dtype is Dtype.FLOAT32 else torch.bfloat16
