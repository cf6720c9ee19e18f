"""Chains of the paper's form as rows of stage 03, and the rows of a run as such chains.

Foreign chains pass the same checks as our own, so that they can be trained on, measured and looked at like them. What
the format does not hold (seeds, why a text ended) stays null; a text is taken to have ended by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from solon.checks.texts import Checked, Shown, check_critique, check_revision
from solon.constitution.constitution import Constitution
from solon.constitution.formats.paper_chains import Chain, chain_of
from solon.engines.base import Completion, Finish
from solon.runs.outcome import Outcome
from solon.runs.rows import RevisionRow


def rows_of_chains(chains: Iterable[Chain], critic: str) -> list[RevisionRow]:
    """A row per step as in 03-critique-revision; `critic` names who wrote the chains."""
    return [row for chain in chains for row in _rows(chain, critic)]


def _rows(chain: Chain, critic: str) -> Iterator[RevisionRow]:
    human = chain.conversation.turns[-1].content
    for number, step in enumerate(chain.steps):
        requests = (step.principle.critique_request, step.principle.revision_request)
        critique = check_critique(_completion(step.critique), Shown(human, requests))
        revision = check_revision(_completion(step.revision), Shown(human, requests, critique=step.critique))
        if critique.outcome is not Outcome.OK:
            # As in a run, a revision that followed a bad critique is kept, and is not trained on.
            revision = Checked(revision.text, critique.outcome, revision.defects)
        yield RevisionRow(
            row_id=chain.conversation.row_id,
            step=number + 1,
            prompt=chain.conversation,
            before=chain.before(number),
            principle_id=step.key,
            critique=critique.text,
            critique_outcome=critique.outcome,
            critique_defects=tuple(defect.value for defect in critique.defects),
            completion=revision.text,
            critic=critic,
            outcome=revision.outcome,
            defects=tuple(defect.value for defect in revision.defects),
        )


def _completion(text: str) -> Completion:
    return Completion(text, Finish.END)


def chains_of_rows(rows: Sequence[RevisionRow], constitution: Constitution, dataset: str) -> tuple[list[Chain], int]:
    """The chains of a run's 03-critique-revision with only good steps, and how many others were left out.

    The format has no place for a step without critique or revision, nor for what became of it.
    """
    principles = {principle.id: principle for principle in constitution.revision}
    by_prompt: dict[str, list[RevisionRow]] = {}
    for row in sorted(rows, key=lambda row: row.step):
        by_prompt.setdefault(row.row_id, []).append(row)
    whole = [
        steps
        for steps in by_prompt.values()
        if all(row.outcome is Outcome.OK and row.critique is not None for row in steps)
    ]
    chains = [
        chain_of(
            steps[0].prompt,
            steps[0].before,
            [(principles[row.principle_id], row.critique or "", row.completion) for row in steps],
            dataset,
        )
        for steps in whole
    ]
    return chains, len(by_prompt) - len(whole)
