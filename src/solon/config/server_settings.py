"""How models behind servers are asked: settings of the engine `openai:MODEL@URL`.

All but those in `KEYED` may change during a run: they say how a server is reached and how much may be spent, and change
no row.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from solon.config.settings import Count, Positive, Rate, Settings

KEYED = frozenset({"tokenizer", "samples"})
"""Settings that change what a model is asked, and so its answers."""


class ServerSettings(Settings):
    """How a model behind a server is asked. Budgets are for one session and all its served models together."""

    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "SOLON_API_KEY"
    """The environment variable with the servers' key. Without it, none is sent."""
    tokenizer: str | None = None
    """A folder with the model's `config.json` and tokenizer. Prompts are then written and counted here, as for a model
    in a folder. Null: the server writes chats by its own template, and counts tokens where it can."""
    samples: Positive = 1
    """Most samples of the same prompt in one request (`n`). Above 1 only the first sample has the seed of its row."""
    concurrency: Positive = 16
    """Most requests in flight at each address. There are fewer while a server is busy or slow."""
    retries: Count = 5
    """How often a failed request is tried again."""
    timeout: Rate = 600.0
    """Seconds for one try, up to the last byte of the answer."""
    deadline: Rate = 1800.0
    """Seconds for one request with all its tries."""
    max_requests: Positive | None = None
    """The budget of requests, failed ones included; unlimited when null."""
    max_tokens: Positive | None = None
    """The budget of tokens of prompts and completions together; unlimited when null."""
    max_cost: Rate | None = None
    """The budget of money, in the currency of the prices; unlimited when null."""
    prompt_price: Annotated[float, Field(ge=0)] = 0.0
    """The price of a million prompt tokens."""
    completion_price: Annotated[float, Field(ge=0)] = 0.0
    """The price of a million completion tokens."""

    @property
    def keyed(self) -> dict[str, object]:
        """The settings of `KEYED` that differ from their defaults."""
        return self.model_dump(mode="json", include=set(KEYED), exclude_defaults=True)
