"""What each address calls the model that answers: two models behind one name would be mixed without a word."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from solon.engines.served.wire_format import model_in
from solon.http.retry_policy import malformed

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ModelNames:
    """The names so far, by address."""

    known: dict[str, str] = field(default_factory=dict)

    def note(self, address: str, answer: Any) -> None:
        """Remember who answered; warns when an address that is new calls the model otherwise than the others.

        Raises the failure of `malformed` when an address calls it otherwise than before.
        """
        name = model_in(answer)
        if not name or name == self.known.get(address):
            return
        if address in self.known:
            raise malformed(f"answers as the model '{name:.60}', and before as '{self.known[address]:.60}'")
        others = set(self.known.values())
        self.known[address] = name
        if others and name not in others:
            _log.warning("%s", self.difference)

    @property
    def difference(self) -> str:
        """A line about addresses that call the model differently; empty when none do."""
        if len(set(self.known.values())) < 2:
            return ""
        named = ", ".join(f"'{name:.60}' at {address}" for address, name in self.known.items())
        return f"The servers answer as different models, and their answers are mixed: {named}"
