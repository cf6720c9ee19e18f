"""The table of families in docs/models.md: `python -m tests.families.table` measures anew and writes it.

Every cell is what the checks found on a tiny random model of that family, taught a few texts; the same checks are the
tests of this folder. It takes some minutes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from solon.config.recipe import EngineSettings, Thinking
from solon.engines.tokens import PromptTokenizer
from tests.families import checks
from tests.families.made import make_folder
from tests.families.styles import STYLES

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- table: python -m tests.families.table -->", "<!-- end of table -->"
HEAD = (
    "family in small",
    "a reply ends with",
    "trained = read = scored ids",
    "score off through its own template",
    "several lines survive, here and in transformers",
    "nine stages, full / LoRA",
)


def row(name: str, folder: Path) -> tuple[str, ...]:
    """What the checks find on one family."""
    make_folder(name, folder / "model", taught=True)
    settings = [EngineSettings(thinking=thinking) for thinking in Thinking]
    same = all(checks.trained_is_read(checks.texts_of(folder / "model", each)) for each in settings)
    replay = checks.replay(folder / "model", folder / "pm")
    off = max(replay.transformers, replay.solon) if replay.templates == replay.rows else float("inf")
    lines = checks.survives(folder / "model"), checks.survives_elsewhere(folder / "model", folder / "saved")
    runs = [_ends(folder, kind, words) for kind, words in (("full", []), ("lora", checks.LORA))]
    end = PromptTokenizer.of(checks.load_tokenizer(folder / "model"), EngineSettings()).ending
    return (
        name,
        f"`{end}`".replace("|", r"\|"),
        _yes(same),
        f"{off:.0e}",
        " / ".join(map(_yes, lines)),
        " / ".join(map(_yes, runs)),
    )


def _ends(folder: Path, kind: str, words: list[str]) -> bool:
    try:
        rows = checks.run_ends(folder, folder / kind, words)
    except AssertionError as error:
        print(f"{folder}: {error}", file=sys.stderr)
        return False
    return len(rows) == 9 and all(rows.values())


def table(names: Iterable[str]) -> str:
    """The rows of the families in Markdown."""
    rows = [HEAD, ("---",) * len(HEAD)]
    with tempfile.TemporaryDirectory() as made:
        rows += [row(name, Path(made) / str(number)) for number, name in enumerate(names)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _yes(met: bool) -> str:
    return "yes" if met else "NO"


def main() -> None:
    """Measure every family and write the page's table."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(STYLES)}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
