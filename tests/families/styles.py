"""Tokenizers and chat templates in the manner of well-known families, small enough to be made in a moment.

What differs between families is here in small: whether a space is set in front of a text, which added tokens are
special, what ends a turn and whether that is the tokenizer's end token, whether a template writes a cue, a default
system prompt, today's date or thoughts, and which turns it refuses. The templates are written for these tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

TEXTS = [
    "How do I open the old lock?\n\nTake a pin.\n\n    turn(pin)\n    wait()\n\nThen pull.",
    "Ask the owner first.\n\n1. Be kind.\n2. Show <b>care</b>\tand wait.",
    "The response tells how to open a lock that may belong to another person. Human: Assistant: The answer is: (A)",
    "Options:\n(A) one\n(B) two\n\nThe answer is: (B)\n\n(A) (B) A B\nA\nB\nThe answer is: A\n\nThe answer is: B",
    "Consider the following conversation between a human and an assistant: user system model <|user|> <|assistant|>",
] * 4


def byte_level(
    special: Sequence[str],
    plain: Sequence[str] = (),
    *,
    bos: str | None = None,
    prefix_space: bool = False,
) -> Tokenizer:
    """A byte-level vocabulary; `plain` are added tokens that are not special."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=440,
        special_tokens=list(special),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(TEXTS, trainer)
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    return _opened(made, bos)


def sentencepiece(special: Sequence[str], *, scheme: str = "first", bos: str = "<s>") -> Tokenizer:
    """A vocabulary as SentencePiece makes it: a space is set in front of the first word of every text."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=True)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=["<unk>", "<s>", "</s>", *special, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    # SentencePiece merges nothing across words in training and reads a text in one piece; line feeds are bytes to it.
    made.train_from_iterator([line for text in TEXTS for line in re.split(r"[\n\t]", text)], trainer)
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    written = json.loads(made.to_str())
    written["added_tokens"] = [each for each in written["added_tokens"] if not each["content"].startswith("<0x")]
    return _opened(Tokenizer.from_str(json.dumps(written)), bos)


def _opened(made: Tokenizer, bos: str | None) -> Tokenizer:
    if bos is not None:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))]
        )
    return made


_TURN = "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
_CUE = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
_ALTERNATE = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}"
)
_NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('there is no system turn') }}{% endif %}"
CHATML = f"{{% for m in messages %}}{_TURN}{{% endfor %}}{_CUE}"
CHATML_WITH_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou were made somewhere.<|im_end|>\\n' }}"
    f"{{% endif %}}{CHATML}"
)
THINKING = (
    "{% for m in messages %}{% if m['role'] == 'assistant' and loop.last %}"
    "{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + m['content'] + '<|im_end|>\\n' }}"
    f"{{% else %}}{_TURN}{{% endif %}}{{% endfor %}}{_CUE}"
    "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
)
"""As Qwen3's: thoughts of earlier turns are dropped, and a switch closes those of the next."""
ALWAYS_THINKING = CHATML.replace("assistant\\n' }}{% endif %}", "assistant\\n<think>\\n' }}{% endif %}")
"""As DeepSeek-R1's: the cue opens a block of thoughts, and no switch closes it."""
DATED = (
    "{{ '<|im_start|>system\\nToday is ' + strftime_now('%d %B %Y') + '.\\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% set messages = messages[1:] %}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\\n' + ('' if enable_thinking else '<think>\\n\\n</think>\\n\\n') + m['content'] "
    f"+ '<|im_end|>\\n' }}}}{{% else %}}{_TURN}{{% endif %}}{{% endfor %}}{_CUE}"
    "{% if add_generation_prompt and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
)
"""As SmolLM3's: today's date, and a switch for thoughts."""
GEMMA = (
    f"{{{{ bos_token }}}}{_NO_SYSTEM}{{% for m in messages %}}{_ALTERNATE}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + (m['content'] | trim) "
    "+ '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
INST = (
    f"{{{{ bos_token }}}}{{% for m in messages %}}{_ALTERNATE}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' "
    "+ (m['content'] | trim) + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
NO_CUE = f"{{% for m in messages %}}{_TURN}{{% endfor %}}"
VICUNA = (
    "{% for m in messages %}{{ ('USER: ' if m['role'] == 'user' else 'ASSISTANT: ') + m['content'] }}"
    "{{ ' ' if m['role'] == 'user' else eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

_IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHATML = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_LLAMA2 = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
_GEMMA = {"eos_token": "<eos>", "pad_token": "<pad>", "bos_token": "<bos>", "unk_token": "<unk>"}
_GEMMA_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
_GEMMA3_PLAIN = ("\n", "\n\n", "\n\n\n", "    ", "  ", "\t", "<b>", "</b>", "<table>")
_SIZE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}
_GROUPED = {**_SIZE, "num_key_value_heads": 2}
_SMALL_HEADS = {**_GROUPED, "head_dim": 16}


@dataclass(frozen=True)
class Style:
    """A family in small: how its tokenizer and configuration are made, its template, and the name of its real one."""

    tokenizer: Callable[[], Tokenizer]
    named: Mapping[str, str]
    template: str | None
    config: Callable[..., PreTrainedConfig]
    size: Mapping[str, Any] = field(default_factory=lambda: _GROUPED)
    ends: tuple[str, ...] = ()
    """Further end tokens in the generation settings."""

    def make_tokenizer(self) -> PreTrainedTokenizerFast:
        """A fresh tokenizer."""
        made = PreTrainedTokenizerFast(tokenizer_object=self.tokenizer(), **self.named)
        made.chat_template = self.template
        return made

    def make_model(self, tokenizer: PreTrainedTokenizerFast) -> Any:
        """A model with random weights, drawn from torch's seed."""
        end = tokenizer.eos_token_id
        config = self.config(
            **self.size,
            vocab_size=-(-len(tokenizer) // 8) * 8 + 8,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id,
        )
        model: Any = AutoModelForCausalLM.from_config(config)
        if self.ends:
            model.generation_config.eos_token_id = [end, *map(tokenizer.convert_tokens_to_ids, self.ends)]
        return model.eval()


def _gemma3(**options: Any) -> PreTrainedConfig:
    return Gemma3TextConfig(
        **options, query_pre_attn_scalar=16, sliding_window=64, layer_types=["sliding_attention", "full_attention"]
    )


def _gemma2(**options: Any) -> PreTrainedConfig:
    return Gemma2Config(**options, query_pre_attn_scalar=16, sliding_window=64)


def _mistral(**options: Any) -> PreTrainedConfig:
    return MistralConfig(**options, sliding_window=64)


STYLES: Mapping[str, Style] = {
    "Llama 2": Style(lambda: sentencepiece((), scheme="always"), _LLAMA2, INST, LlamaConfig),
    "Llama 3": Style(
        lambda: byte_level(
            ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            bos="<|begin_of_text|>",
        ),
        {"eos_token": "<|end_of_text|>", "bos_token": "<|begin_of_text|>"},
        LLAMA3,
        LlamaConfig,
        ends=("<|eot_id|>",),
    ),
    "Mistral": Style(lambda: sentencepiece(("[INST]", "[/INST]")), _LLAMA2, INST, _mistral),
    "Zephyr, TinyLlama": Style(lambda: sentencepiece(()), {**_LLAMA2, "pad_token": "</s>"}, ZEPHYR, LlamaConfig),
    "Qwen 2.5": Style(lambda: byte_level(_IM), _CHATML, CHATML_WITH_SYSTEM, Qwen2Config),
    "Qwen 2.5 base": Style(
        lambda: byte_level(_IM), {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}, CHATML, Qwen2Config
    ),
    "Qwen 3 (thinking)": Style(
        lambda: byte_level(_IM, ("<think>", "</think>")), _CHATML, THINKING, Qwen3Config, _SMALL_HEADS
    ),
    "Gemma 2": Style(lambda: byte_level(_GEMMA_SPECIAL, bos="<bos>"), _GEMMA, GEMMA, _gemma2, _SMALL_HEADS),
    "Gemma 3": Style(
        lambda: byte_level(_GEMMA_SPECIAL, _GEMMA3_PLAIN, bos="<bos>"),
        _GEMMA,
        GEMMA,
        _gemma3,
        _SMALL_HEADS,
        ("<end_of_turn>",),
    ),
    "Phi-3": Style(
        lambda: sentencepiece(("<|endoftext|>", "<|assistant|>", "<|user|>", "<|system|>", "<|end|>")),
        {"eos_token": "<|endoftext|>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<|endoftext|>"},
        PHI3,
        Phi3Config,
        _SIZE,
        ("<|end|>", "<|assistant|>"),
    ),
    "GPT-NeoX, Pythia (no template)": Style(
        lambda: byte_level(("<|endoftext|>", "<|padding|>"), ("    ", "        ", "  ")),
        {"eos_token": "<|endoftext|>", "pad_token": "<|padding|>"},
        None,
        GPTNeoXConfig,
        _SIZE,
    ),
    "SmolLM2": Style(lambda: byte_level(_IM), _CHATML, CHATML_WITH_SYSTEM, LlamaConfig),
    "SmolLM3 (date, thinking)": Style(lambda: byte_level(_IM, ("<think>", "</think>")), _CHATML, DATED, SmolLM3Config),
    "DeepSeek-R1 (cue opens thoughts)": Style(lambda: byte_level(_IM), _CHATML, ALWAYS_THINKING, Qwen2Config),
    "no cue": Style(lambda: byte_level(_IM), _CHATML, NO_CUE, LlamaConfig),
    "space set in front": Style(lambda: byte_level(_IM, prefix_space=True), _CHATML, CHATML, LlamaConfig),
    "Vicuna (words for marks)": Style(
        lambda: sentencepiece(()), {**_LLAMA2, "pad_token": "<unk>"}, VICUNA, LlamaConfig
    ),
}
"""By family, in the order of the table in docs/models.md."""
