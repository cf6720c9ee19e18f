"""One step of a chain of critiques and revisions: the critique by one principle, and what the reviser is asked.

The stage critique-revision asks for many steps at once and keeps their rows; `solon chat` asks for one. Both ask the
same questions with the same seeds and judge the answers by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solon import prompts
from solon.checks.texts import Checked, Shown, check_critique
from solon.config.recipe import RevisionSettings
from solon.constitution.constitution import CritiqueExample, RevisionPrinciple
from solon.conversation import Conversation
from solon.digest import seed_for
from solon.engines.base import Completion, Engine
from solon.feedback.ask import ask
from solon.feedback.revision_candidates import RevisionRequest
from solon.runs.outcome import Outcome
from solon.runs.rows import Critique


@dataclass(frozen=True, slots=True)
class Link:
    """One step of one chain: the reply to be revised, the principle drawn, and the critique once there is one."""

    row_id: str
    conversation: Conversation
    reply: str
    step: int
    principle: RevisionPrinciple
    critique: Critique | None = None
    """None before it is written, and in the direct mode."""


def criticise(
    settings: RevisionSettings, seed: int, links: Sequence[Link], examples: Sequence[CritiqueExample], critic: Engine
) -> list[Critique]:
    """The critique of each link's reply by its principle, checked; the seeds depend on `seed`, row and step."""
    questions = [
        prompts.critique(link.conversation, link.reply, link.principle, examples, settings.form) for link in links
    ]
    seeds = [seed_for(seed, "critique", link.row_id, link.step) for link in links]
    critiques = ask(critic, questions, seeds, settings.critique)
    worked = [each.critique for each in examples]
    return [
        _critique(critique, check_critique(critique, _shown(link, worked)), drawn, critic.name)
        for link, critique, drawn in zip(links, critiques, seeds, strict=True)
    ]


def revision_request(settings: RevisionSettings, link: Link, examples: Sequence[CritiqueExample]) -> RevisionRequest:
    """What the reviser is asked about a link: after its critique, or directly where it has none."""
    text = _critique_text(link)
    prompt = prompts.revision(link.conversation, link.reply, link.principle, text, examples, settings.form)
    return RevisionRequest(
        link.row_id, link.step, link.conversation, prompt, _shown(link, [each.revision for each in examples])
    )


def critique_failed(link: Link) -> Outcome | None:
    """What is wrong with the link's critique, or None when nothing is, or there is to be none."""
    if link.critique is None or link.critique.critique_outcome is Outcome.OK:
        return None
    return link.critique.critique_outcome


def _shown(link: Link, examples: Sequence[str]) -> Shown:
    requests = (link.principle.critique_request, link.principle.revision_request)
    return Shown(link.conversation.turns[-1].content, requests, tuple(examples), _critique_text(link), link.reply)


def _critique_text(link: Link) -> str | None:
    return None if link.critique is None else link.critique.critique


def _critique(critique: Completion, checked: Checked, seed: int, critic: str) -> Critique:
    return Critique(
        critique=checked.text,
        critique_thinking=critique.thinking or None,
        critique_finish=critique.finish.value,
        critique_outcome=checked.outcome,
        critique_defects=tuple(defect.value for defect in checked.defects),
        critique_seed=seed,
        critic=critic,
    )
