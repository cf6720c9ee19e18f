"""What a server does not give, what that costs, and what to do about it; for `solon engines check`."""

from __future__ import annotations

from typing import NamedTuple

from solon.engines.served.message_rendering import ReplyStart
from solon.engines.served.token_counts import TokenCounter
from solon.engines.served.wire_format import Interface, LetterReading, ServerAbilities

_TOKENIZER = "--set engine.server.tokenizer=FOLDER, a folder with the model's config.json and tokenizer"


class Lack(NamedTuple):
    """One thing that is missing: what, and what to do."""

    what: str
    fix: str


def lacks(able: ServerAbilities, counter: TokenCounter) -> tuple[Lack, ...]:
    """What is missing, the most important first."""
    found = []
    chat = able.interface is Interface.CHAT
    if not able.readings:
        what = "log-probabilities: letters are counted from several texts for each question"
        found.append(Lack(what, "start the server with log-probabilities (llama-cpp-python: --logits_all true)"))
    elif LetterReading.ECHO not in able.readings:
        what = f"prompt log-probabilities: an option outside the {able.top} most probable tokens is estimated"
        found.append(Lack(what, f"{_TOKENIZER}, and a server that has them (vLLM)" if chat else "use vLLM"))
    if chat and able.start is ReplyStart.ASKED_FOR:
        what = "continuing an assistant's message: words that open a reply stand at the end of the question"
        found.append(Lack(what, _TOKENIZER))
    if counter.exact is None and counter.request is None:
        what = "counting tokens: they are estimated, and a prompt that is too long may be sent"
        found.append(Lack(what, _TOKENIZER))
    if "min_p" not in able.extras:
        what = "settings such as top_k: the server may cut the distribution in its own way"
        found.append(Lack(what, "turn its own sampling off (vLLM: --generation-config vllm)"))
    return tuple(found)
