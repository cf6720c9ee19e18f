"""Chains of the paper's form as rows of stage 03, and the rows of a run as such chains.

Foreign chains pass the same checks as our own, so that they can be trained on, measured and looked at like them. What
the format does not tell (seeds, why a text ended) stays null; a text is taken to have ended by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from solon.checks.texts import Checked, Shown, check_critique, check_revision
from solon.constitution.constitution import Constitution
from solon.constitution.formats.paper_chains import Chain, chain_of
from solon.conversation import conversation_of
from solon.engines.base import Completion, Finish
from solon.runs import Row
from solon.runs.outcome import Outcome
from solon.runs.rows import assistant_turn, reply_in


def rows_of_chains(chains: Iterable[Chain], critic: str) -> list[Row]:
    """A row per step with the columns of 03-critique-revision; `critic` names who wrote the chains."""
    return [row for chain in chains for row in _rows(chain, critic)]


def _rows(chain: Chain, critic: str) -> Iterator[Row]:
    human = chain.conversation.turns[-1].content
    for number, step in enumerate(chain.steps):
        requests = (step.principle.critique_request, step.principle.revision_request)
        critique = check_critique(_completion(step.critique), Shown(human, requests))
        revision = check_revision(_completion(step.revision), Shown(human, requests, critique=step.critique))
        if critique.outcome is not Outcome.OK:
            # As in a run, a revision that followed a bad critique is kept, and is not trained on.
            revision = Checked(revision.text, critique.outcome, revision.defects)
        yield {
            "row_id": chain.conversation.row_id,
            "step": number + 1,
            "prompt": chain.conversation.messages(),
            "before": chain.before(number),
            "principle_id": step.key,
            "critique": critique.text,
            "critique_outcome": critique.outcome.value,
            "critique_defects": [defect.value for defect in critique.defects],
            "completion": assistant_turn(revision.text),
            "critic": critic,
            "outcome": revision.outcome.value,
            "defects": [defect.value for defect in revision.defects],
        }


def _completion(text: str) -> Completion:
    return Completion(text, Finish.END)


def chains_of_rows(rows: Sequence[Row], constitution: Constitution, dataset: str) -> tuple[list[Chain], int]:
    """The chains of a run's 03-critique-revision whose steps are all good, and how many others were left out.

    The format has no place for a step without critique or revision, nor for what became of it.
    """
    principles = {principle.id: principle for principle in constitution.revision}
    by_prompt: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["step"])):
        by_prompt.setdefault(row["row_id"], []).append(row)
    whole = [
        steps
        for steps in by_prompt.values()
        if all(row["outcome"] == Outcome.OK and row["critique"] is not None for row in steps)
    ]
    chains = [
        chain_of(
            conversation_of(steps[0]["prompt"], place=f"row {steps[0]['row_id']}"),
            steps[0]["before"],
            [(principles[row["principle_id"]], row["critique"], reply_in(row)) for row in steps],
            dataset,
        )
        for steps in whole
    ]
    return chains, len(by_prompt) - len(whole)
