"""Run directories: durable, resumable, and never half-written.

    run = RunDirectory.create(path, recipe, constitution_file)
    with run.lock():
        if (artefact := run.finished("prompts", key)) is None:
            artefact = prompts.run(settings, inputs, run.begin(1, "prompts", key, report))

A stage gets a `StageFolder`: `map` makes each finished chunk durable, and `publish` writes the artefact.
"""

from solon.runs.artefact import Artefact
from solon.runs.directory import RunDirectory, begin_folder, finished_folder
from solon.runs.interrupt import Interrupted
from solon.runs.lazy_sequence import LazySequence
from solon.runs.lock import Owner, owner_of
from solon.runs.manifest import Manifest
from solon.runs.progress import Progress
from solon.runs.response_cache import ResponseCache
from solon.runs.stage_folder import Report, StageFolder, ignore

__all__ = [
    "Artefact",
    "Interrupted",
    "LazySequence",
    "Manifest",
    "Owner",
    "Progress",
    "Report",
    "ResponseCache",
    "RunDirectory",
    "StageFolder",
    "begin_folder",
    "finished_folder",
    "ignore",
    "owner_of",
]
