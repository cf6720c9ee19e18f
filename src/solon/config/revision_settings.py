"""The settings of critiques and revisions, stage 03."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from solon.config.settings import Count, Positive, SamplingParams, Settings


class RevisionMode(StrEnum):
    """Whether a critique comes before each revision (paper, section 3.5)."""

    CRITIQUED = "critiqued"
    """A critique, then a revision."""
    DIRECT = "direct"
    """A revision without a critique."""


class RevisionForm(StrEnum):
    """How critic and reviser see the conversation."""

    CONTINUED = "continued"
    """As their own: the requests continue the dialogue (paper, section 3.1)."""
    QUOTED = "quoted"
    """As a quotation in one question. Small chat models otherwise keep to the role that they find themselves in."""


class CutOffReplies(StrEnum):
    """What becomes of a reply to a red-team prompt that reached its limit of tokens."""

    SKIP = "skip"
    """No chain begins with it."""
    REVISE = "revise"
    """It is criticised and revised as far as it goes. Nothing learns from the reply itself."""


class EvasiveRevisions(StrEnum):
    """What becomes of a revision that is a canned refusal without a reason (`solon show rules`)."""

    KEEP = "keep"
    """It is counted, and SL-CAI learns from it like from any other."""
    REFUSE = "refuse"
    """It is refused: the chain goes on from the reply before it, and nothing learns from it."""


class RevisionSettings(Settings):
    """Critiques and revisions."""

    steps: Positive = 4
    """Revisions of each reply, one after the other (paper, section 3.1)."""
    mode: RevisionMode = RevisionMode.CRITIQUED
    """With or without critiques."""
    form: RevisionForm = RevisionForm.CONTINUED
    """How critic and reviser see the conversation."""
    candidates: Positive = 1
    """Revisions written at each step. The feedback model compares them, and the best stays."""
    openings: Annotated[tuple[str, ...], Field(min_length=1)] = ("",)
    """First words of the candidates, in turn; an empty text leaves the first words to the model."""
    choose_by: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Ids of the preference principles by which candidates are compared; all when null."""
    evasive: EvasiveRevisions = EvasiveRevisions.KEEP
    """What becomes of canned refusals."""
    cut_off: CutOffReplies = CutOffReplies.SKIP
    """What becomes of replies that were cut off."""
    few_shot: Count = 0
    """Worked examples in front of each question."""
    principles: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Ids of the principles to draw from; all when null."""
    number_of_principles: Positive | None = None
    """Only the first so many of them (paper, section 3.4: 1, 2, 4, 8 and 16); all when null."""
    critique: SamplingParams = SamplingParams()
    revision: SamplingParams = SamplingParams()
