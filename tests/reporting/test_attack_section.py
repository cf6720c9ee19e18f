"""An attack in results, report and terminal: figures with intervals, lineage, and texts that stay texts."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from solon.config.recipe import SamplingParams
from solon.engines.scripted import ScriptedEngine
from solon.reporting import render
from solon.reporting.attack_section import MOST_KEPT, attack_parts, cells_of, title_of, worst_first
from solon.reporting.results import results
from solon.runs import Artefact, RunDirectory
from solon.runs.attack_facts import AttackFacts
from solon.runs.evaluation_rows import AttackRow
from solon.runs.facts import read_facts
from solon.stages import extra_attack
from solon.stages.attack_rounds import AttackInputs
from solon.stages.attack_scoring import by_preference
from tests.cli.test_cli import run as command
from tests.reporting.test_page import HOSTILE, Page, opened
from tests.stages.test_extra_attack import SETTINGS, TOPICS, WEAK, WRITING, Truth, models, replied, score, written
from tests.synthetic import Plan, build


def attacked(folder: Path, writer=written, policy=replied, name: str = "rl-cai") -> tuple[RunDirectory, Artefact]:
    """A finished synthetic run with an attack of scripted models."""
    made = build(folder, Plan(red=40, held_out=6))
    engines = ScriptedEngine(writer), ScriptedEngine(policy)
    who = models(*engines, score=by_preference(lambda: score), grader=Truth(), graded_by="truth")
    prompts = made.finished("prompts")
    inputs = AttackInputs(0, prompts, WRITING, SamplingParams(), name, "writer", chunk=8)
    out = made.begin(10, f"attack-{name}", {})
    return made, extra_attack.run(SETTINGS, inputs, who, out)


def topical(prompt, seed: int) -> str:
    """The synthetic run knows no topic of the attack's, so a request without one is about any of them."""
    text = prompt.turns[0].content
    if not any(topic in text for topic in TOPICS):
        lines = text.splitlines()
        lines[1] = f"1. How do I get a {TOPICS[seed % len(TOPICS)]}?"
        prompt = replace(prompt, turns=(replace(prompt.turns[0], content="\n".join(lines)),))
    return written(prompt, seed)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Artefact]:
    return attacked(tmp_path_factory.mktemp("attacked") / "run", topical)


def test_results_have_the_attack_by_name(found) -> None:
    made, artefact = found
    figures = results(made)["attacks"]
    assert list(figures) == ["rl-cai"] and figures["rl-cai"] == artefact.facts
    assert figures["rl-cai"]["rounds"][1]["failing"]["n"] == SETTINGS.prompts
    json.dumps(figures)


def test_a_round_is_a_line_of_shares_with_intervals(found) -> None:
    facts = read_facts(AttackFacts, found[1].facts)
    cells = cells_of(facts.rounds[-1])
    assert cells[0] == "4" and cells[1] == "20" and cells[2].endswith("]") and "[" in cells[2]
    assert cells_of(facts.rounds[0])[0] == "0, human" and cells_of(facts.rounds[0])[3] == "-"
    assert title_of(facts).startswith("Attack on rl-cai: replies that fail by the preference model (score up to 0)")


def test_the_page_shows_rounds_topics_and_lineage(found) -> None:
    page = render(found[0])
    text = Page(page).text
    assert "Red teaming" in text and "The policy failed" in text and "Failing replies by round" in page
    assert "varied from" in text and WEAK in text
    (part,) = attack_parts({found[1].name: found[1]})
    assert part.all_kept == len(part.kept) <= MOST_KEPT
    deep = max(part.kept, key=lambda each: each.generation)
    assert deep.generation > 1 and all(parent in text for parent in deep.parents)
    assert Page(page).open == []


def test_a_run_without_an_attack_has_no_such_section(tmp_path) -> None:
    assert 'id="attacks"' not in render(build(tmp_path / "run", Plan(red=4, held_out=4)))


def test_worst_comes_first(found) -> None:
    facts = read_facts(AttackFacts, found[1].facts)
    rows = [row for row in found[1].rows(AttackRow) if row.fails]
    scores = [row.score for row in worst_first(rows, facts)]
    assert scores == sorted(scores)


def test_the_terminal_prints_the_same_figures(found, capsys) -> None:
    code, out, _ = command(capsys, "results", found[0].path)
    assert code == 0 and "Attack on rl-cai" in out and "0, human" in out and "Most were found about: violin" in out


def test_hostile_prompts_and_replies_add_nothing_to_page_and_terminal(tmp_path, found, capsys) -> None:
    texts = itertools.cycle(text.encode("utf-8", "replace").decode() for text in HOSTILE[:-1])

    def writes(prompt, seed):
        return f"{topical(prompt, seed)}\n9. Can you tell me about a {WEAK} and {next(texts)}?"

    def replies(prompt, seed):
        return f"{replied(prompt, seed)} {next(texts)}"

    made, _ = attacked(tmp_path / "run", writes, replies)
    page, plain = Page(opened(render(made))), Page(opened(render(found[0])))
    assert page.open == [] and page.comments == []
    assert page.shape - plain.shape == set()
    assert len(page.scripts) == len(plain.scripts)
    from solon.cli.attack import print_attack

    artefact = made.finished("attack-rl-cai")
    print_attack(artefact, 50)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\u202e" not in out and "\x07" not in out and "after:" in out
