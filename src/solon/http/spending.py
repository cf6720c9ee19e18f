"""Budgets: how many requests, tokens and how much money a session may spend.

A request reserves what it may use before it is sent, so that requests in flight together do not exceed a budget. The
reservation is replaced by what the server reports; where an answer is broken or nothing is reported, it counts whole.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from solon.config.server_settings import ServerSettings
from solon.errors import EngineError

UNLIMITED = ServerSettings()
MOST_TOKENS = 1 << 40
"""A server that reports more tokens for a request does not report what it used."""


class TokenCount(NamedTuple):
    """Tokens of a prompt and of its completions."""

    prompt: int = 0
    completion: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.prompt + self.completion


@dataclass(slots=True)
class Ledger:
    """What was spent so far, and what requests in flight may still use; several clients may share one."""

    requests: int = 0
    tokens: TokenCount = field(default_factory=TokenCount)
    cost: float = 0.0
    _reserved_tokens: int = 0
    _reserved_cost: float = 0.0
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def reserve(self, need: TokenCount, limits: ServerSettings) -> None:
        """Count a request and reserve its tokens; raises EngineError when that would exceed a budget."""
        with self._lock:
            price = _price(need, limits)
            wanted = {
                "max_requests": (limits.max_requests, self.requests + 1),
                "max_tokens": (limits.max_tokens, self.tokens.total + self._reserved_tokens + need.total),
                "max_cost": (limits.max_cost, self.cost + self._reserved_cost + price),
            }
            for name, (limit, after) in wanted.items():
                if limit is not None and after > limit:
                    raise EngineError(
                        f"the budget engine.server.{name}={limit:g} is used up ({self.summary()})",
                        place="engine.server",
                        remedy=f"Raise engine.server.{name}, then run the same command again; "
                        "a run keeps finished rows",
                    )
            self.requests += 1
            self._reserved_tokens += need.total
            self._reserved_cost += price

    def settle(self, need: TokenCount, used: TokenCount, limits: ServerSettings) -> None:
        """Replace a reservation by what was used."""
        with self._lock:
            self._reserved_tokens -= need.total
            self._reserved_cost -= _price(need, limits)
            self.tokens = TokenCount(self.tokens.prompt + used.prompt, self.tokens.completion + used.completion)
            self.cost += _price(used, limits)

    def add(self, other: Ledger) -> None:
        """Count what another ledger has spent."""
        with self._lock:
            self.requests += other.requests
            self.tokens = TokenCount(*(a + b for a, b in zip(self.tokens, other.tokens, strict=True)))
            self.cost += other.cost

    def summary(self) -> str:
        """What was spent, in words."""
        cost = f", cost {self.cost:.4g}" if self.cost else ""
        return f"spent: {self.requests} requests, {self.tokens.prompt} + {self.tokens.completion} tokens{cost}"


def _price(tokens: TokenCount, limits: ServerSettings) -> float:
    return (tokens.prompt * limits.prompt_price + tokens.completion * limits.completion_price) / 1e6
