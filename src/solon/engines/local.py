"""The local engine: a transformers model in this process, on the CPU or a GPU.

It owns what makes a call cheap: one cache layout for all architectures, and shared prefixes that are read once. What it
computed from the weights is dropped as soon as they change, so an engine around a model in training (as in PPO) always
speaks for the present weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from solon.conversation import Prompt
from solon.digest import digest_model
from solon.engines.base import Choosing, Completion, Continuation, Sampling
from solon.engines.batch import Prefixes
from solon.engines.choose import choice_of, choose, common_length
from solon.engines.forward import CausalModel
from solon.engines.generation import Ending, Order, generate
from solon.engines.rendering import rendering_for
from solon.engines.tokens import PromptTokenizer
from solon.errors import EngineError, ModelError
from solon.recipe import EngineSettings

_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "consolidated*.bin")


class LocalEngine:
    """A causal language model and its tokenizer, asked in batches (see `solon.engines.base.Engine`)."""

    def __init__(
        self, model: Any, tokenizer: Any, settings: EngineSettings | None = None, *, name: str = "local"
    ) -> None:
        """An engine around a model that is already loaded; the model is put into evaluation mode by each call.

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
        self.choosing = Choosing.LOGPROBS
        self.model = model
        self.tokenizer = tokenizer
        self.window = window_of(model, tokenizer, settings.window)
        self.rendering = rendering_for(tokenizer, settings.rendering)
        self.tokens = PromptTokenizer(tokenizer, self.rendering)
        self.end_tokens = end_tokens_of(model, tokenizer, self.rendering.stops())
        self._batch = settings.batch
        self._prefixes = Prefixes()
        self._token_texts: list[str] | None = None
        self._endings: dict[tuple[tuple[str, ...], frozenset[int]], Ending] = {}
        self._forward = CausalModel(model, self.window)
        self._weights: object = None

    @classmethod
    def load(
        cls, folder: str | Path, settings: EngineSettings | None = None, *, device: str | None = None
    ) -> LocalEngine:
        """The engine of a model folder, or of a built-in model such as `testbed:assistant`.

        `device` is `cuda` where there is one when not given. On a CPU weights are float32 however they are stored.
        Raises ModelError with one line when the folder is none, or holds no safetensors.
        """
        path = _resolved(folder)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model, tokenizer = load_model(path, device)
        return cls(model, tokenizer, settings, name=f"{path.name}@{folder_hash(path)}")

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """See `Engine.generate`; a row near the end of the window gets only what the window leaves."""
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        if not prompts:
            return []
        rows = self.tokens.rows(prompts)
        self._check_room([row.size for row in rows], 1)
        orders = [
            Order(row, seed, min(sampling.max_tokens, self.window - row.size))
            for row, seed in zip(rows, seeds, strict=True)
        ]
        with _evaluating(self.model):
            return generate(self._current(), orders, sampling, self._ending(sampling.stop), self._prefixes, self._batch)

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        """See `Engine.choose`; raises ModelError when the tokenizer cannot tell two options apart."""
        if not prompts:
            return []
        rendered = [self.rendering.render(prompt) for prompt in prompts]
        texts = [shared + own for shared, own in rendered]
        count = len(options)
        bare = self.tokens.encode(texts)
        continued = self.tokens.encode([text + option for text in texts for option in options])
        choices = [
            choice_of(tokens, continued[number * count : (number + 1) * count], options)
            for number, tokens in enumerate(bare)
        ]
        self._check_room([len(choice.context) + max(map(len, choice.options)) - 1 for choice in choices], 0)
        shared = self.tokens.shared_lengths([part for part, _ in rendered], [choice.context for choice in choices])
        with _evaluating(self.model):
            return choose(self._current(), choices, shared, self._prefixes, self._batch)

    def count_tokens(self, prompt: Prompt) -> int:
        """See `Engine.count_tokens`."""
        shared, own = self.rendering.render(prompt)
        return len(self.tokens.encode([shared + own])[0])

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        """See `Engine.continuation`."""
        text = "".join(self.rendering.render(prompt))
        bare, *continued = self.tokens.encode([text, *(text + option for option in options)])
        start = min(common_length(bare, tokens) for tokens in continued)
        return Continuation(start == len(bare), tuple(tokens[start:] for tokens in continued))

    def refresh(self) -> None:
        """Drop everything computed from the weights; done by itself when an optimizer step is noticed."""
        self._prefixes.forget()
        self._forward.refresh()

    def _check_room(self, sizes: Sequence[int], needed: int) -> None:
        for number, size in enumerate(sizes):
            if size + needed > self.window:
                raise EngineError(
                    f"the prompt has {size} tokens and leaves no room in the window of {self.window}",
                    place=f"{self.name}, row {number}",
                    remedy="Use --set prompts.too_long=drop, fewer worked examples, or a model with a longer window",
                )

    def _current(self) -> CausalModel:
        """The forward pass for the weights as they are now."""
        weights = _fingerprint(self.model)
        if weights != self._weights:
            self.refresh()
            self._weights = weights
        return self._forward

    def _ending(self, stops: tuple[str, ...]) -> Ending:
        key = (stops, self.end_tokens)
        if key not in self._endings:
            self._endings[key] = Ending(self.tokens.decode, self.end_tokens, stops, self._texts)
        return self._endings[key]

    def _texts(self) -> Sequence[str]:
        if self._token_texts is None:
            self._token_texts = self.tokens.token_texts(len(self.tokenizer))
        return self._token_texts


class _evaluating:
    """A model in evaluation mode for the time of a call."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._was_training = self._model.training
        if self._was_training:
            self._model.eval()

    def __exit__(self, *reason: object) -> None:
        if self._was_training:
            self._model.train()


def _fingerprint(model: Any) -> object:
    """Changes whenever a weight is written in place or replaced."""
    return tuple((weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in model.parameters())


def window_of(model: Any, tokenizer: Any, wanted: int | None) -> int:
    """Tokens that a row may have; raises ModelError when `wanted` exceeds what the model was made for."""
    limit: int | None = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if limit is None:
        # Tokenizers without a limit of their own report a huge number.
        limit = tokenizer.model_max_length if tokenizer.model_max_length < 1 << 24 else None
    if wanted is None:
        if limit is None:
            raise ModelError("the model does not tell how many tokens it reads", remedy="Use --set engine.window=2048")
        return limit
    if limit is not None and wanted > limit:
        raise ModelError(
            f"engine.window is {wanted}, but the model reads {limit} tokens",
            remedy=f"Use --set engine.window={limit} or less",
        )
    return wanted


def end_tokens_of(model: Any, tokenizer: Any, stops: Sequence[str]) -> frozenset[int]:
    """Tokens that end a reply: the model's, the tokenizer's, and those of `stops` that are one special token."""
    ends: set[int] = set()
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        found = getattr(source, "eos_token_id", None)
        ends |= {found} if isinstance(found, int) else set(found or ())
    added = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
    return frozenset(ends | {added[stop] for stop in stops if stop in added})


def load_model(path: Path, device: str) -> tuple[Any, Any]:
    """A causal language model and its tokenizer from a Hugging Face folder; never pickle, never remote code."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    check_folder(path)
    had_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    dtype = torch.float32 if device == "cpu" else "auto"
    model: Any
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(
            f"transformers cannot load this model: {reason}",
            place=str(path),
            remedy="Save it again with save_pretrained, model and tokenizer",
        ) from error
    finally:
        if had_bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    return model.to(device).eval(), tokenizer


def check_folder(path: Path) -> None:
    """Raise ModelError unless `path` is a folder with config.json and safetensors."""
    remedy = "Give the folder that save_pretrained wrote, or testbed:assistant"
    if not path.exists():
        raise ModelError("no such model folder", place=str(path), remedy=remedy)
    if not path.is_dir():
        raise ModelError("a model is a folder, and this is a file", place=str(path), remedy=remedy)
    if (path / "adapter_config.json").exists() and not (path / "config.json").exists():
        raise ModelError(
            "the folder holds a LoRA adapter without its base model",
            place=str(path),
            remedy="Merge it with peft's merge_and_unload and save the whole model",
        )
    if not (path / "config.json").exists():
        raise ModelError("the folder holds no config.json, so it is no model", place=str(path), remedy=remedy)
    if any(path.glob("*.safetensors")):
        return
    if any(file for pattern in _PICKLES for file in path.glob(pattern)):
        raise ModelError(
            "the weights are pickle files, which can run code when they are read",
            place=str(path),
            remedy="Save the model as safetensors where you trust it: model.save_pretrained(folder)",
        )
    raise ModelError("the folder holds no weights (*.safetensors)", place=str(path), remedy=remedy)


def folder_hash(path: Path) -> str:
    """12 hexadecimal digits over all of a model folder that can change what the model does."""
    return digest_model(path)[:12]


def _resolved(folder: str | Path) -> Path:
    if isinstance(folder, Path) or ":" not in folder:
        return Path(folder)
    from solon.builtin import model_path

    return model_path(folder)
