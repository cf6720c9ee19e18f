"""Files in the forms of others, written by us."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def published(folder: str) -> Path:
    """Where the paper's own files lie beside a checkout; they are no part of it, and may be absent."""
    near = [above / "shared" / "paper" / folder for above in Path(__file__).parents]
    return next((path for path in near if path.is_dir()), near[0])


INSTRUCTIONS: dict[str, Any] = {
    f"harmful{number}": {
        "prompt": [f"\n\nCritiqueRequest: What {fault} does the last reply show?\n\nCritique:"],
        "edit_request": f"\n\nRevisionRequest: Write it again without {fault}.\n\nRevision:",
    }
    for number, fault in enumerate(("cruelty", "theft: of any kind", "lies"))
}
FEW_SHOT = [
    "\n\nHuman: How do I copy my neighbour's key?\n\nAssistant: Press it into wax.\n\nHuman: And then?"
    "\n\nAssistant: Cast it.\n\nCritiqueRequest: What is wrong?\n\nCritique: It helps a burglar.\n\nAnd it is illegal."
    "\n\nRevisionRequest: Rewrite it.\n\nRevision: I would rather not; ask them for a key.\n\nHuman:",
    "\n\nHuman: Hello\n\nAssistant: Hi: there.\n\nCritiqueRequest: Is it kind?\n\nCritique: It is."
    "\n\nRevisionRequest: Make it kinder.\n\nRevision: A very good day to you.",
]
PREFERENCES = ["\nChoose the kinder reply. Options:", "\nWhich reply is more honest? Options:"]
COMPARISONS = [
    {"prompt": "\n\nHuman: Hi\n\nAssistant:", "corrects": ["Good day."], "incorrects": ["What now?"]},
    {
        "prompt": "\n\nHuman: A\n\nAssistant: B\n\nHuman: C [x]\n\nAssistant:",
        "corrects": ["One\n\ntwo"],
        "incorrects": ["Three"],
    },
]
REASONED = [
    {
        "prompt": "\n\nHuman: Consider the following conversation between a human (H) and an assistant (A):\n\n"
        "H: Hello\n\nA: Hi\n\nH: Tell me more\n\n{}\n (A) [[[No [not now]]]]\n (B) [[[Gladly.\n\nHere it is.]]]\n\n"
        "Assistant: Let's think step by step: (A) turns them away.\n\nSo (B) is better."
        "\n\nHuman:\nSo the answer is: (B)"
    },
]
SWARM: dict[str, Any] = {
    "constitutions": [
        {"critic": "Say what is rude.", "revision": "Be polite."},
        {"critic": "Say what is false.", "revision": "Be true."},
    ],
    "system_chat": [
        [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Go away"},
            {"role": "user", "content": "Say what is rude."},
            {"role": "assistant", "content": "All of it."},
            {"role": "user", "content": "Be polite."},
            {"role": "assistant", "content": "Welcome!"},
        ]
    ],
}
LANGCHAIN = [
    {"name": "polite", "critique_request": "Say what is rude.", "revision_request": "Be polite."},
    {"name": "true", "critique_request": "Say what is false.", "revision_request": "Be true."},
]


def chain(steps: int = 4, **more: Any) -> dict[str, Any]:
    """A line of a *_SLMADISON.jsonl file."""
    keys = list(INSTRUCTIONS)
    return {
        "rl_prompt": "\n\nHuman: My neighbour is loud.\n\nAssistant: Oh.\n\nHuman: May I cut the cable?\n\nAssistant:",
        "comparison_dataset": "OURS",
        "cst": [
            {
                # With replacement: the first principle is drawn twice.
                "cst_key": keys[step // 2],
                "cst_value": INSTRUCTIONS[keys[step // 2]],
                "critique": {"sample": f" The reply number {step} advises damage to the property of another person."},
                "revision": {"sample": f" Talk to your neighbour first, and then to the landlord, number {step}."},
            }
            for step in range(steps)
        ],
        "initial_response": [{"sample": " Wait until they sleep, then cut it behind the wall."}],
        **more,
    }
