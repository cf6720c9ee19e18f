"""Models behind servers that speak the OpenAI wire format: `openai:MODEL@URL`, or several URLs joined by commas.

    openai:qwen@http://127.0.0.1:8000                        one server; `/v1` is added where a URL has no path
    openai:qwen@http://gpu-1:8000/v1,http://gpu-2:8000/v1    two servers of the same model, which share the questions

The text is part of recipes, manifests and reports, so it must not have a secret (`solon.config.addresses`). The key of
a server comes from the environment variable that `engine.server.key_variable` names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from solon.config.addresses import address_fault
from solon.errors import RecipeError

OPENAI = "openai"
SHAPE = "openai:MODEL@URL, for example openai:my-model@http://127.0.0.1:8000"
_SECRETS = (
    "the address has a user name, a password or a query, and addresses are written into reports. "
    "Leave them out; a key comes from the environment variable that engine.server.key_variable names"
)
_AT = re.compile(r"@(?=https?://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model's name on its servers, and the base addresses of these, which all serve it."""

    model: str
    addresses: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> ServedModel:
        """The model in a spec without its scheme, `MODEL@URL`; raises RecipeError that shows no secret."""
        if fault := served_fault(name):
            raise RecipeError(fault, place="openai:", remedy=f"Name it {SHAPE}")
        model, addresses = _AT.split(name, maxsplit=1)
        return cls(model, tuple(map(_base, addresses.split(","))))


def served_fault(name: str) -> str | None:
    """Why `MODEL@URL` is not valid, in words that show no secret; None when it is."""
    model, *addresses = _AT.split(name, maxsplit=1)
    if not addresses or not model or not model.isprintable() or any(map(str.isspace, model)):
        return f"a model behind a server is named {SHAPE}"
    each = addresses[0].split(",")
    for fault in map(address_fault, each):
        if fault is not None:
            return _SECRETS if fault.startswith("the address has") else f"a model behind a server is named {SHAPE}"
    return "the same address is named twice" if len(set(map(_base, each))) < len(each) else None


def _base(address: str) -> str:
    """The address without a final slash, and with `/v1` where it has no path."""
    bare = address.rstrip("/")
    return bare if "/" in bare.partition("://")[2] else f"{bare}/v1"
