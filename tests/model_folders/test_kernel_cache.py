"""oneDNN's kernel cache: the bound is set for whoever loads a model, and a user's own stays."""

from __future__ import annotations

import pytest

from solon.model_folders.kernel_cache import CAPACITY, VARIABLES, bound_kernel_cache


def test_a_bound_is_set() -> None:
    environment: dict[str, str] = {}
    bound_kernel_cache(environment)
    assert environment == {VARIABLES[0]: str(CAPACITY)}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_users_bound_stays(name: str) -> None:
    environment = {name: "7"}
    bound_kernel_cache(environment)
    assert environment == {name: "7"}
