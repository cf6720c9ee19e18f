"""A rehearsal of a run: what it would ask, how many calls and tokens that is, and about how long it would take.

The prompts are read and drawn as the run would draw them, the stages that ask models then run on a handful of them, on
the real engines, in a temporary folder that is removed. What they asked is shown, and what they measured (lengths,
speed) is scaled up to the whole run. Nothing is written to the run's own folder.
"""

from solon.rehearsal.calls import Calls, Learning, Range
from solon.rehearsal.rehearse import Rehearsal, rehearse

__all__ = ["Calls", "Learning", "Range", "Rehearsal", "rehearse"]
