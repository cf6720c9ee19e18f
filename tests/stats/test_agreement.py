"""Cohen's kappa on tables with known answers."""

import pytest

from solon.stats.agreement import cohen_kappa


def pairs(both: int, first: int, second: int, neither: int) -> list[tuple[bool, bool]]:
    return [
        *[(True, True)] * both, *[(True, False)] * first, *[(False, True)] * second, *[(False, False)] * neither,
    ]  # fmt: skip


def test_kappa_of_a_known_table() -> None:
    # 35 of 50 agree (0.7); by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    assert cohen_kappa(pairs(20, 5, 10, 15)) == pytest.approx(0.4)


def test_full_agreement_none_and_the_opposite() -> None:
    assert cohen_kappa(pairs(3, 0, 0, 4)) == 1
    assert cohen_kappa(pairs(5, 5, 5, 5)) == 0
    assert cohen_kappa(pairs(0, 5, 5, 0)) == -1


def test_there_is_no_kappa_where_chance_gives_full_agreement() -> None:
    assert cohen_kappa([]) is None
    assert cohen_kappa(pairs(0, 0, 0, 9)) is None
