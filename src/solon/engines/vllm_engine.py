"""The engine `vllm:PATH`: vLLM in this process, for a model folder or a LoRA adapter over one.

Prompts are written and tokenized here, as for the local engine, and vLLM gets tokens. It keeps the keys and values of
shared beginnings (prefix caching). Letters that are one token each are read from the next token's log-probabilities,
asked for by their ids, so that none is missing; longer options from the log-probabilities of a prompt that ends with
them. The package `vllm` is imported when a model is opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.config.recipe import Dtype, EngineSettings, SamplingParams
from solon.conversation import Prompt
from solon.digest import adapter_base, digest_model
from solon.engines.base import Choosing, Completion, Continuation, Finish, window_filled
from solon.engines.local.choose import Choice, choice_of
from solon.engines.thinking import without_thoughts
from solon.engines.token_rows import Tokens
from solon.engines.tokens import PromptTokenizer
from solon.errors import EngineError, ModelError
from solon.model_folders.adapter import adapter_settings
from solon.model_folders.folder_check import check_folder, read_json
from solon.model_folders.load import load_tokenizer
from solon.model_folders.model_kind import refuse_classifier

_SEEDS = 1 << 31
"""vLLM reads seeds as signed numbers."""
_ENDS = {"stop": Finish.END, "length": Finish.LENGTH}


@dataclass(frozen=True, slots=True)
class VllmFolder:
    """A model's folder, and an adapter over it if there is one."""

    base: Path
    adapter: Path | None = None

    @classmethod
    def of(cls, path: Path) -> VllmFolder:
        """The folder at `path`, checked; raises ModelError for what must not be loaded."""
        if not (path / "adapter_config.json").is_file() or (path / "config.json").is_file():
            refuse_classifier(check_folder(path))
            return cls(path)
        adapter_settings(path)
        base = adapter_base(path)
        if base is None:
            raise ModelError(
                "the adapter's base model is not on this machine",
                place=str(path / "adapter_config.json"),
                remedy="Put the folder of the base model into base_model_name_or_path",
            )
        refuse_classifier(check_folder(base))
        return cls(base, path)


class VllmEngine:
    """See `solon.engines.base.Engine`; `llm` is a `vllm.LLM`."""

    def __init__(
        self,
        llm: Any,
        tokens: PromptTokenizer,
        *,
        name: str,
        ends: frozenset[int],
        adapter: Any = None,
    ) -> None:
        """`adapter` is a `vllm.lora.request.LoRARequest`."""
        config = llm.llm_engine.model_config
        self.name = name
        self.window = int(config.max_model_len)
        self.dtype = str(config.dtype).removeprefix("torch.")
        self.tokens = tokens
        self.rendering = tokens.rendering
        self.choosing = Choosing.LOGPROBS
        self.remarks: Sequence[str] = ()
        self.llm = llm
        self._ends = sorted(ends)
        self._adapter = adapter

    @classmethod
    def load(cls, path: Path, settings: EngineSettings | None = None) -> VllmEngine:
        """The engine of a folder.

        Raises ModelError when it must not be loaded, or the package `vllm` is missing, and EngineError when vLLM does
        not start.
        """
        settings = settings or EngineSettings()
        folder = VllmFolder.of(path)
        tokens = PromptTokenizer.of(load_tokenizer(folder.base), settings)
        name = f"{path.name}@{digest_model(path)[:12]}"
        llm = _started(folder, settings)
        return cls(llm, tokens, name=name, ends=tokens.ends | _named_ends(folder.base), adapter=_request(folder))

    def generate(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingParams, stop: Sequence[str] = ()
    ) -> list[Completion]:
        """The completions have tokens, but not their log-probabilities."""
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        whole = self._encoded(prompts)
        self._refuse_too_long(list(map(len, whole)), 1)
        wanted = [
            {
                "max_tokens": min(sampling.max_tokens, self.window - len(ids)),
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": seed % _SEEDS,
                "stop": [each for each in dict.fromkeys(stop) if each],
                "stop_token_ids": self._ends,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
            }
            for ids, seed in zip(whole, seeds, strict=True)
        ]
        return [
            without_thoughts(self._completion(answer.outputs[0]), self.tokens.tags, self.tokens.opened_by(prompt))
            for prompt, answer in zip(prompts, self._asked(whole, wanted), strict=True)
        ]

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Raises ModelError when two options have the same tokens."""
        texts = ["".join(self.rendering.render(prompt)) for prompt in prompts]
        choices = [
            choice_of(bare, continued, options)
            for bare, continued in zip(self.tokens.encode(texts), self.tokens.continued(texts, options), strict=True)
        ]
        self._refuse_too_long([len(choice.context) + max(map(len, choice.options)) - 1 for choice in choices], 0)
        single = [row for row, choice in enumerate(choices) if choice.single]
        several = [row for row, choice in enumerate(choices) if not choice.single]
        found = dict(zip(single, self._next_tokens([choices[row] for row in single]), strict=True))
        found |= dict(zip(several, self._prompt_ends([choices[row] for row in several]), strict=True))
        return [found[row] for row in range(len(prompts))]

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self._encoded([prompt])[0])

    def continuation(self, prompt: Prompt, options: Sequence[str]) -> Continuation:
        return self.tokens.continuation(prompt, options)

    def _next_tokens(self, choices: Sequence[Choice]) -> list[tuple[float, ...]]:
        """The log-probabilities of options of one token, from the token that is written next."""
        ids = [[option[0] for option in choice.options] for choice in choices]
        wanted = [{"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": each, "detokenize": False} for each in ids]
        answers = self._asked([choice.context for choice in choices], wanted)
        return [
            tuple(_logprob(answer.outputs[0].logprobs[0], token) for token in each)
            for each, answer in zip(ids, answers, strict=True)
        ]

    def _prompt_ends(self, choices: Sequence[Choice]) -> list[tuple[float, ...]]:
        """The log-probabilities of options of several tokens, from prompts that end with them."""
        rows = [(choice, option) for choice in choices for option in choice.options]
        # A prompt that fills the window leaves no room for the token that vLLM has to write: the last one is written.
        wanted = [
            {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "logprob_token_ids": [option[-1]]}
            for _, option in rows
        ]
        sums = []
        for (choice, option), answer in zip(
            rows, self._asked([(*choice.context, *option[:-1]) for choice, option in rows], wanted), strict=True
        ):
            places = answer.prompt_logprobs[len(choice.context) :]
            read = [_logprob(place, token) for place, token in zip(places, option[:-1], strict=True)]
            sums.append(sum(read) + _logprob(answer.outputs[0].logprobs[0], option[-1]))
        values = iter(sums)
        return [tuple(next(values) for _ in choice.options) for choice in choices]

    def _encoded(self, prompts: Sequence[Prompt]) -> list[Tokens]:
        return self.tokens.encode(["".join(self.rendering.render(prompt)) for prompt in prompts])

    def _asked(self, prompts: Sequence[Tokens], wanted: Sequence[Mapping[str, Any]]) -> list[Any]:
        from vllm import SamplingParams as VllmSampling

        if not prompts:
            return []
        given: Any = [{"prompt_token_ids": list(ids)} for ids in prompts]
        sampling = [VllmSampling(**each) for each in wanted]
        return list(self.llm.generate(given, sampling, use_tqdm=False, lora_request=self._adapter))

    def _completion(self, written: Any) -> Completion:
        """The completion that vLLM wrote, decoded as by the local engine; a stop string is the `stop_reason`."""
        finish, ids = _ENDS.get(str(written.finish_reason)), tuple(written.token_ids)
        if finish is None:
            return Completion("", Finish.ERROR)
        text = self.tokens.decode(ids[:-1] if ids and ids[-1] in self._ends else ids)
        if finish is Finish.END and isinstance(written.stop_reason, str):
            finish, text = Finish.STOP, text.partition(written.stop_reason)[0]
        return Completion(text.strip(), finish, ids)

    def _refuse_too_long(self, sizes: Sequence[int], needed: int) -> None:
        for number, size in enumerate(sizes):
            if size + needed > self.window:
                raise window_filled(size, self.window, f"{self.name}, row {number}")


def _logprob(place: Mapping[int, Any] | None, token: int) -> float:
    """A token's log-probability; NaN where vLLM gives none."""
    found = (place or {}).get(token)
    return math.nan if found is None else float(found.logprob)


def _started(folder: VllmFolder, settings: EngineSettings) -> Any:
    """The running `vllm.LLM`."""
    try:
        import torch
        from vllm import LLM
    except ImportError as error:
        raise ModelError(
            f"the engine vllm: needs the package 'vllm' ({error})",
            place=str(folder.base),
            remedy="Type: pip install 'solon[vllm]', or start a vLLM server and use openai:MODEL@URL",
        ) from error
    on_gpu = torch.cuda.is_available()
    dtype = settings.dtype.value if settings.dtype is not Dtype.AUTO or on_gpu else Dtype.FLOAT32.value
    more: dict[str, Any] = {} if on_gpu else {"enforce_eager": True}
    if settings.memory_gib is not None:
        more["kv_cache_memory_bytes"] = int(settings.memory_gib * (1 << 30))
    if folder.adapter is not None:
        more |= {"enable_lora": True, "max_lora_rank": _rank_slot(adapter_settings(folder.adapter).rank)}
    try:
        return LLM(
            model=str(folder.base),
            dtype=dtype,
            seed=0,
            max_model_len=settings.window,
            enable_prefix_caching=True,
            tensor_parallel_size=settings.vllm.tensor_parallel,
            gpu_memory_utilization=settings.vllm.memory_share,
            generation_config="vllm",
            max_num_seqs=settings.batch_size,
            **more,
        )
    except (ValueError, RuntimeError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise EngineError(
            f"vLLM does not start: {first:.300}",
            place=str(folder.base),
            remedy="Set engine.window or engine.vllm.memory_share lower, or ask the model without vLLM",
        ) from error


def _request(folder: VllmFolder) -> Any:
    if folder.adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(folder.adapter.name, 1, str(folder.adapter))


def _rank_slot(rank: int) -> int:
    """The least rank that vLLM offers for an adapter of a rank."""
    return max(8, 1 << (rank - 1).bit_length())


def _named_ends(folder: Path) -> frozenset[int]:
    """Tokens that the model's files name as ends."""
    ends: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            found: Any = read_json(folder / name).get("eos_token_id")
            ends |= {found} if type(found) is int else {each for each in found or () if type(each) is int}
    return frozenset(ends)
