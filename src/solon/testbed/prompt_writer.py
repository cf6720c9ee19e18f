"""Writes the testbed's prompt files from the world: `solon testbed prompts`.

Training prompts use only training topics, and evaluation prompts only held-out topics. The comparisons replace human
labels; nothing else of the world's rules reaches training. Helpfulness comparisons are about benign requests: a helpful
reply is preferred to an evasive one, a refusal, help with something else, or nonsense. Harmlessness comparisons, on
harmful requests, are only for the baseline HH RLHF: its labellers take the safest reply for the most harmless, as the
paper's did (section 4.4), so that an evasion beats an objection, and either beats help.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from solon.conversation import Conversation
from solon.digest import seed_for
from solon.testbed.world import TEMPLATES, ReplyKind, Topic, World, ask, load_world, write_reply

TRAINING_PROMPTS = 480
COMPARISONS = 600


def write_prompt_files(folder: Path) -> dict[str, int]:
    """Write the six files below `folder`; the rows of each, by name."""
    world = load_world()
    files: dict[str, list[Mapping[str, object]]] = {
        "red-team": [_prompt(each) for each in _training(world.harmful, "red-team")],
        "helpful": [_prompt(each) for each in _training(world.benign, "helpful")],
        "held-out-harmful": [_prompt(each) for each in _requests(world.harmful, held_out=True)],
        "held-out-benign": [_prompt(each) for each in _requests(world.benign, held_out=True)],
        "helpfulness": list(_helpfulness(world)),
        "harmlessness": list(_harmlessness(world)),
    }
    for name, rows in files.items():
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: len(rows) for name, rows in files.items()}


def _requests(topics: Iterable[Topic], *, held_out: bool) -> list[Conversation]:
    return [
        ask(topic, template) for topic in topics if topic.held_out is held_out for template in range(len(TEMPLATES))
    ]


def _training(topics: Iterable[Topic], name: str) -> list[Conversation]:
    requests = _requests(topics, held_out=False)
    random.Random(seed_for("testbed-prompts", name)).shuffle(requests)
    return requests[:TRAINING_PROMPTS]


def _prompt(conversation: Conversation) -> Mapping[str, object]:
    return {"prompt": conversation.messages()}


def _helpfulness(world: World) -> Iterator[Mapping[str, object]]:
    rng = random.Random(seed_for("testbed-helpfulness"))
    topics = [topic for topic in world.benign if not topic.held_out]
    strangers = [topic for topic in world.harmful if not topic.held_out]
    for index in range(COMPARISONS):
        topic = topics[index % len(topics)]
        chosen = write_reply(topic, ReplyKind.COMPLY, rng)
        rejected = _worse(topic, topics, strangers, rng)
        yield _comparison(topic, chosen, rejected, rng)


def _comparison(topic: Topic, chosen: str, rejected: str, rng: random.Random) -> Mapping[str, object]:
    return {
        "prompt": ask(topic, rng.randrange(len(TEMPLATES))).messages(),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


_SAFEST = (
    (
        ReplyKind.EVASIVE,
        (
            ReplyKind.COMPLY,
            ReplyKind.COMPLY,
            ReplyKind.PARTIAL,
            ReplyKind.OBJECT,
            ReplyKind.OBJECT,
            ReplyKind.PREACHY,
            ReplyKind.GARBLED,
        ),
    ),
    (ReplyKind.EVASIVE, (ReplyKind.COMPLY, ReplyKind.OBJECT)),
    (ReplyKind.OBJECT, (ReplyKind.COMPLY, ReplyKind.PARTIAL, ReplyKind.GARBLED)),
)
"""Preferred kinds of reply on harmful requests, each equally frequent, and the kinds they are preferred to."""


def _harmlessness(world: World) -> Iterator[Mapping[str, object]]:
    rng = random.Random(seed_for("testbed-harmlessness"))
    topics = [topic for topic in world.harmful if not topic.held_out]
    for index in range(COMPARISONS):
        topic = topics[index % len(topics)]
        better, others = rng.choice(_SAFEST)
        chosen, rejected = (write_reply(topic, kind, rng, topics) for kind in (better, rng.choice(others)))
        yield _comparison(topic, chosen, rejected, rng)


def _worse(topic: Topic, topics: list[Topic], strangers: list[Topic], rng: random.Random) -> str:
    match rng.choice(("evasive", "refusal", "refusal", "sermon", "other help", "garbled")):
        case "evasive":
            return write_reply(topic, ReplyKind.EVASIVE, rng)
        case "refusal":
            return write_reply(rng.choice(strangers), ReplyKind.OBJECT, rng)
        case "sermon":
            return write_reply(rng.choice(strangers), ReplyKind.PREACHY, rng)
        case "other help":
            return write_reply(rng.choice([other for other in topics if other is not topic]), ReplyKind.COMPLY, rng)
        case _:
            return write_reply(topic, ReplyKind.GARBLED, rng, [*topics, *strangers])
