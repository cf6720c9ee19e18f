from solon.stats.variety import distinct_n


def test_distinct_n_by_hand() -> None:
    texts = [["a", "b", "a", "b"], ["a", "b"]]
    assert [distinct_n(texts, n) for n in (1, 2, 3)] == [2 / 6, 2 / 4, 1.0]


def test_no_run_has_no_variety() -> None:
    assert distinct_n([], 1) is None and distinct_n([["a", "b"]], 3) is None
