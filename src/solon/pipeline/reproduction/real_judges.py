"""Real models as judges, for figures 4, 9 and 12: the files of `benchmarks/judges.py`, one for each model and form.

Those judges answer the plain comparisons of `solon judge-check`. A model's size is read from its name (`135m`, `1.5b`).
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from solon.errors import InputError
from solon.stats.intervals import Share

ZERO_SHOT, FEW_SHOT, REASONED = "zero-shot", "few-shot", "reasoned"
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[mb])(?![a-z0-9])", re.IGNORECASE)
_REMEDY = "Name the folder of: python benchmarks/judges.py FOLDER"


class _Strict(BaseModel):
    """A part of a file; what the reproduction does not need is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class MeasuredShare(_Strict):
    """A share as JSON."""

    value: float = Field(ge=0, le=1)
    low: float
    high: float
    n: int = Field(ge=1)

    def share(self) -> Share:
        """The share."""
        return Share(self.value, self.low, self.high, self.n)


class RealCalibrationBin(MeasuredShare):
    """A bin of a reliability plot: its mean prediction, and how often it came true."""

    p: float = Field(ge=0, le=1)


class RealAccuracy(MeasuredShare):
    """What was measured of a judge."""

    by_kind: dict[str, MeasuredShare] = {}
    calibration: tuple[RealCalibrationBin, ...] = ()
    ece: float | None = None


class RealJudge(_Strict):
    """One file: a model in one form."""

    model: str
    form: str
    judge: RealAccuracy

    @property
    def size(self) -> float:
        """Parameters in millions, by the last size in the name; 0 where the name has none."""
        found = list(_SIZE.finditer(self.model))
        if not found:
            return 0.0
        return float(found[-1]["number"]) * (1000 if found[-1]["unit"].lower() == "b" else 1)


def read_real_judges(folder: Path) -> list[RealJudge]:
    """Every file of a folder, smallest model first; raises InputError without any, and for one of another kind."""
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not files:
        raise InputError("no measured judge", place=str(folder), remedy=_REMEDY)
    found = []
    for file in files:
        try:
            found.append(RealJudge.model_validate_json(file.read_bytes()))
        except ValidationError as error:
            cause = f"not a measured judge ({error.errors()[0]['msg']})"
            raise InputError(cause, place=str(file), remedy=_REMEDY) from None
    return sorted(found, key=lambda each: (each.size, each.model, each.form))
