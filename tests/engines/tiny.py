"""Tiny models and tokenizers with random weights, made in a moment and of every kind that matters to an engine."""

from __future__ import annotations

import string
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from solon.conversation import Conversation, Prompt, Role, Turn

WINDOW = 160
QUESTION = "how do I bake a loaf of bread and read my letters at the station in the rain"
CORPUS = [
    "\n\nHuman: How do I bake a loaf of bread?\n\nAssistant: Mix flour and water, let the dough rest, then bake it.",
    "\n\nHuman: Tell me how to read my neighbour's letters.\n\nAssistant: That would break their trust, and the law.",
    "\n\nCritique Request: Name what is harmful.\n\nCritique: The reply is fine.\n\nRevision: Please ask first.",
    "Consider the following conversation:\n\nWhich is better?\nOptions:\n(A) first\n(B) second\n\nThe answer is: (A)",
    "Ünïcode: naïve café, 10 €; " + string.printable,
]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_WITH_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe helpful.<|im_end|>\n{% endif %}" + CHATML
)
BRACKETS = (
    "{{ '<s>' }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }}</s>{% endif %}{% endfor %}"
)


@cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with `<eos>` before every text, like the testbed's."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS * 4, trainer)
    raw.post_processor = processors.TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", bos_token="<eos>", pad_token="<pad>")


@cache
def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """BPE over pieces with a visible space, as SentencePiece makes it: merges across brackets, closes every text."""
    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=620, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    raw.train_from_iterator([*CORPUS, "(A) (B) (A) (B)"] * 6, trainer)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def chat_tokenizer(template: str = CHATML) -> PreTrainedTokenizerFast:
    """The byte-level tokenizer with a chat template and its turn tokens; its end token is not the turn's."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(byte_tokenizer().backend_tokenizer.to_str()),
        eos_token="<eos>",
        bos_token="<eos>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>", "<s>", "</s>"],
    )
    tokenizer.chat_template = template
    return tokenizer


def model_of(kind: str, vocabulary: int = 420, dtype: torch.dtype = torch.float64) -> Any:
    """A random model; float64 so that the order of sums decides nothing."""
    torch.manual_seed(7)
    sizes = {"vocab_size": vocabulary, "max_position_embeddings": WINDOW, "pad_token_id": 1, "eos_token_id": 0}
    sizes |= {"bos_token_id": 0, "initializer_range": 0.15}
    width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    grouped = {**sizes, **width, "num_key_value_heads": 2}
    makers = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**grouped)),
        "llama-of-wide-heads": lambda: LlamaForCausalLM(LlamaConfig(**grouped, head_dim=32)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**grouped)),
        "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, **width)),
        "gpt2": lambda: GPT2LMHeadModel(
            GPT2Config(**{**sizes, "initializer_range": 0.3}, n_embd=32, n_layer=2, n_head=4)
        ),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**grouped, sliding_window=12)),
        "gemma2": lambda: Gemma2ForCausalLM(
            Gemma2Config(**grouped, head_dim=8, query_pre_attn_scalar=8, sliding_window=12)
        ),
    }
    return makers[kind]().to(dtype).eval()


def question(text: str) -> Prompt:
    """A prompt of one human turn."""
    return Prompt((Turn(Role.HUMAN, text),))


def questions(count: int) -> list[Prompt]:
    """Prompts of many lengths."""
    words = QUESTION.split()
    return [question(" ".join(words[: 1 + number % len(words)]) + f" {number}?") for number in range(count)]


EXAMPLE = (
    Turn(Role.HUMAN, "Tell me how to read my neighbour's letters."),
    Turn(Role.ASSISTANT, "That would break their trust."),
)


def with_example(prompt: Prompt) -> Prompt:
    """The prompt behind a worked example that many share."""
    return Prompt((*EXAMPLE, *prompt.turns), prompt.reply_as, prompt.opening, shared=len(EXAMPLE))


def full_logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities (T, V) of every next token by the model's own forward pass, without cache or padding."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0]
    return logits.log_softmax(-1)


def conversation(*contents: str) -> Conversation:
    """Alternating human and assistant turns."""
    roles = (Role.HUMAN, Role.ASSISTANT)
    return Conversation(tuple(Turn(roles[place % 2], content) for place, content in enumerate(contents)))
