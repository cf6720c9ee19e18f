"""Options about actors on Ray: they count only where models are asked there."""

from __future__ import annotations

from pathlib import Path

import pytest

from solon.cli.main import main

RUN = ["run", "runs/none"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--actors", "3"], "--actors counts only with --on ray"),
        (["--actor-gpus", "1", "--actors", "2"], "--actors and --actor-gpus count only with --on ray"),
        (["--actor-cpus", "1"], "--actor-cpus counts only with --on ray"),
    ],
)
def test_an_option_that_would_be_ignored_is_a_usage_error(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*RUN, *given])
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_defaults_are_no_given_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", str(tmp_path / "run"), "--recipe", str(tmp_path / "absent.yaml")])
    err = capsys.readouterr().err
    assert stop.value.code == 1 and "absent.yaml" in err and "--on ray" not in err
