"""The paper's evaluation files as typed questions.

A row of these files is one text, the question as a model would read it, with the letters of the right and wrong
options. Here it is parsed, so that the options can be shown in any order. There are two forms. A comparison
shows a conversation and two replies in triple brackets; replies may themselves end in a bracket or hold the words of
the frame, so every way to cut the text is tried, and the one kept is the one that agrees with the two whole dialogues
which such a row also has. A classification shows a conversation and short options, one a line, at the end. Nothing
is guessed: a row that does not come apart in exactly one way is a bad row, named by file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from solon.config.json_lines import json_line, nonblank_lines
from solon.config.strict_json import describe_half, half_character
from solon.conversation import Conversation, parse_transcript
from solon.errors import InputError
from solon.prompts import letters

REMEDY = 'Write rows as the paper\'s files do: {"prompt": "...", "corrects": [" (A)"], "incorrects": [" (B)"]}'
_CUE = re.compile(r"\s*The answer is:\s*\Z")
_FIRST, _SECOND, _CLOSE = "\n (A) [[[", "]]]\n (B) [[[", "]]]"
_OPTION = re.compile(r" ?\(([A-Z])\) (\S.*)")
_LETTER = re.compile(r"\s*\(([A-Z])\)\s*")
_TURN = re.compile(r"(?:\A|\n\n)Human:")


class TaskType(StrEnum):
    """What the options of a question are."""

    COMPARISON = "comparison"
    """Two replies to the conversation (HHH, paper section 2)."""
    CLASSIFICATION = "classification"
    """Descriptions of the whole conversation (paper, appendix B)."""


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice question: `options` are as in the file, `correct` is the right one's place, from 0."""

    line: int
    kind: TaskType
    conversation: Conversation
    instruction: str
    options: tuple[str, ...]
    correct: int


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """The questions of a file, all of one kind and with equally many options, and the complaints about its bad rows."""

    path: Path
    questions: tuple[Question, ...]
    bad: tuple[InputError, ...]

    @property
    def name(self) -> str:
        """The file's name without its endings, by which tables and folders call the evaluation."""
        return self.path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json")

    @property
    def kind(self) -> TaskType:
        """What its questions ask about."""
        return self.questions[0].kind


def read_questions(path: Path, *, bad_rows: int = 0) -> QuestionFile:
    """The questions of a file, of which `bad_rows` rows may be unreadable; they are skipped and kept as complaints.

    Raises InputError with `file:line` of the first bad row when there are more, and when no question is left.
    """
    if not path.is_file():
        raise InputError(
            "no such evaluation file",
            place=str(path),
            remedy="The paper's own files are in the folder evals/ of the repository that it names",
        )
    found: list[Question] = []
    bad: list[InputError] = []
    for line, raw in nonblank_lines(path):
        try:
            question = question_of(raw, line, f"{path}:{line}")
            _refuse_other_kind(found[:1], question, f"{path}:{line}")
            found.append(question)
        except InputError as error:
            bad.append(error)
    if len(bad) > bad_rows:
        first, rows = bad[0], len(bad) + len(found)
        count = f" ({len(bad)} of {rows} rows are bad, {bad_rows} allowed)"
        remedy = f"{first.remedy}. To skip bad rows: --bad-rows {len(bad)}" if found else first.remedy
        raise InputError(first.cause + count, place=first.place, remedy=remedy)
    if not found:
        raise InputError("the file holds no question", place=str(path), remedy=REMEDY)
    return QuestionFile(path, tuple(found), tuple(bad))


def question_of(raw: bytes, line: int, place: str) -> Question:
    """The question in one line of a file; raises InputError, naming `place`."""
    row = json_line(raw, place, remedy=REMEDY).object("row", REMEDY)
    text = row.get("prompt")
    if not isinstance(text, str):
        raise _bad("'prompt' must be the text of the question", place)
    if not _CUE.search(text):
        raise _bad("the question does not end on 'The answer is:'", place)
    body = _CUE.sub("", text)
    cuts = list(_brackets(body))
    if cuts:
        kind, (dialogue, instruction, options) = TaskType.COMPARISON, _agreeing(cuts, row, place)
    else:
        kind, (dialogue, instruction, options) = TaskType.CLASSIFICATION, _lines(body, place)
    correct = _correct(row, len(options), place)
    for words in (dialogue, instruction, *options):
        _refuse_half_characters(words, place)
    return Question(line, kind, parse_transcript(dialogue, place=place), instruction, options, correct)


Cut = tuple[str, str, tuple[str, ...]]
"""Dialogue, instruction and options of a question's text."""


def _brackets(body: str) -> Iterator[Cut]:
    """Every way to read the text as a dialogue, an instruction and two replies in triple brackets."""
    if not body.endswith(_CLOSE):
        return
    for first in _places(body, _FIRST):
        for second in _places(body, _SECOND, first + len(_FIRST)):
            head = _head(body[:first])
            replies = body[first + len(_FIRST) : second], body[second + len(_SECOND) : -len(_CLOSE)]
            if head is not None:
                yield *head, (replies[0].strip(), replies[1].strip())


def _agreeing(cuts: Sequence[Cut], row: Mapping[str, Any], place: str) -> Cut:
    """The one cut that gives the row's own dialogues; the only one when the row has none."""
    letters_given = [_LETTER.fullmatch(str(_only(row, key, place))) for key in ("corrects", "incorrects")]
    whole = [row.get(key) for key in ("text_correct", "text_incorrect")]
    fitting = [cut for cut in cuts if _agrees(cut, letters_given, whole)]
    # Texts cut in different places may still be the same question.
    if len(set(fitting)) != 1:
        what = "in more than one way" if fitting else "in no way that agrees with 'text_correct' and 'text_incorrect'"
        raise _bad(f"the conversation and its two replies can be separated {what}", place)
    return fitting[0]


def _agrees(cut: Cut, given: Sequence[re.Match[str] | None], whole: Sequence[object]) -> bool:
    dialogue, _, options = cut
    for letter, text in zip(given, whole, strict=True):
        if text is None:
            continue
        place = "AB".find(letter[1]) if letter else -1
        opening = f"{dialogue}\n\nAssistant:"
        said = str(text).strip() if place >= 0 else ""
        if not said.startswith(opening) or said.removeprefix(opening).strip() != options[place]:
            return False
    return True


def _lines(body: str, place: str) -> Cut:
    """A classification: its options are the last lines, one each, lettered from A without a gap."""
    lines = body.split("\n")
    options: list[str] = []
    while lines and (match := _OPTION.fullmatch(lines[-1])):
        options.insert(0, match[2].strip())
        lines.pop()
        if match[1] == "A":
            break
    read = body.split("\n")[len(lines) :]
    found = [match[1] for each in read if (match := _OPTION.fullmatch(each))]
    if len(options) < 2 or found != list(letters(len(options))):
        raise _bad("no options at its end, one a line, lettered (A), (B) and so on", place)
    head = _head("\n".join(lines))
    if head is None:
        raise _bad("no conversation between the question's first words and its instruction", place)
    if len(set(options)) < len(options):
        raise _bad("two options are the same", place)
    return *head, tuple(options)


def _head(text: str) -> tuple[str, str] | None:
    """The dialogue and the instruction, its last paragraph, of what stands before the options."""
    start = _TURN.search(text)
    before, _, instruction = text.rstrip().rpartition("\n\n")
    instruction = instruction.removesuffix("Options:").strip()
    if start is None or start.start() >= len(before) or not instruction:
        return None
    return before[start.start() :].strip(), instruction


def _correct(row: Mapping[str, Any], count: int, place: str) -> int:
    right, wrong = ([_LETTER.fullmatch(str(each)) for each in _listed(row, key, place)] for key in _ANSWERS)
    named = sorted(match[1] if match else "" for match in (*right, *wrong))
    if len(right) != 1 or right[0] is None or named != list(letters(count)):
        raise _bad(f"'corrects' and 'incorrects' must name one and all others of the {count} options", place)
    return letters(count).index(right[0][1])


_ANSWERS = ("corrects", "incorrects")


def _only(row: Mapping[str, Any], key: str, place: str) -> object:
    listed = _listed(row, key, place)
    if len(listed) != 1:
        raise _bad(f"'{key}' must hold one letter", place)
    return listed[0]


def _listed(row: Mapping[str, Any], key: str, place: str) -> list[object]:
    value = row.get(key)
    if not isinstance(value, list):
        raise _bad(f"'{key}' must be a list of letters", place)
    return value


def _refuse_other_kind(first: Sequence[Question], question: Question, place: str) -> None:
    if first and (first[0].kind, len(first[0].options)) != (question.kind, len(question.options)):
        was = f"{first[0].kind} with {len(first[0].options)} options"
        raise _bad(
            f"a {question.kind} with {len(question.options)} options among rows of another kind ({was})",
            place,
            "Put each kind of question into a file of its own",
        )


def _refuse_half_characters(text: str, place: str) -> None:
    if (half := half_character(text)) is not None:
        raise _bad(describe_half(half), place, "Write it as UTF-8, or drop the row")


def _places(text: str, words: str, start: int = 0) -> Iterator[int]:
    while (start := text.find(words, start)) >= 0:
        yield start
        start += 1


def _bad(cause: str, place: str, remedy: str = REMEDY) -> InputError:
    return InputError(cause, place=place, remedy=remedy)
