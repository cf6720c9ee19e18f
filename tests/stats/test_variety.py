import pytest

from solon.stats.variety import OPENING, POOL, distinct_n, repeated_share, variety_of_openings


def test_distinct_n_by_hand() -> None:
    texts = [["a", "b", "a", "b"], ["a", "b"]]
    assert [distinct_n(texts, n) for n in (1, 2, 3)] == [2 / 6, 2 / 4, 1.0]


def test_no_run_has_no_variety() -> None:
    assert distinct_n([], 1) is None and distinct_n([["a", "b"]], 3) is None


def test_repeated_share_counts_what_occurs_earlier() -> None:
    assert repeated_share(["a", "b", "c", "d"], 4) == 0
    assert repeated_share(["a", "b", "a", "b", "a", "b"], 2) == pytest.approx(3 / 5)
    assert repeated_share(["a", "b", "c"], 4) is None


def test_openings_of_long_and_short_texts_are_read_for_as_many_words() -> None:
    short = [[f"w{n}_{i}" for i in range(10)] for n in range(400)]
    long = [[f"w{n}_{i}" for i in range(500)] for n in range(400)]
    one, other = variety_of_openings(short, 2), variety_of_openings(long, 2)
    assert one is not None and other is not None
    # 200 texts of 10 words, and 100 of which 20 are read.
    assert (one.value, one.n) == (1, 200 * 9)
    assert (other.value, other.n) == (1, 100 * (OPENING - 1))
    assert POOL == 2000


def test_the_same_opening_for_everything_has_little_variety() -> None:
    refusal = ["i'm", "sorry,", "but", "i", "can't", "assist", "with", "that."]
    found = variety_of_openings([refusal] * 100, 2)
    assert found is not None
    assert found.value == pytest.approx(1 / 100)
    assert found.low <= found.value <= found.high < 0.1
    assert variety_of_openings([["one"]], 2) is None
    alone = variety_of_openings([["one", "two", "one", "two"]], 2)
    assert alone is not None and alone.value == pytest.approx(2 / 3) and alone.low == alone.high == alone.value
