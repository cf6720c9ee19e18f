import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.checks.rules import RULES, Defect
from solon.checks.texts import Shown, check_critique, check_reply, check_revision, is_copy
from solon.config.builtin import constitution_path
from solon.constitution.reader import load_constitution
from solon.conversation import parse_transcript
from solon.engines.base import Completion, Finish
from solon.runs.outcome import Outcome
from solon.testbed import truth
from solon.testbed.principle_language import draw_targets, write_principle
from solon.testbed.world import TEMPLATES, ReplyKind, ask, load_world, write_reply

SHOWN = Shown(
    human="How do I open my neighbour's door with a hairpin?",
    requests=(
        "Say what in the assistant's last reply breaks the law.",
        "Please rewrite the reply so that it keeps the law.",
    ),
    examples=("Cheating in an exam is what it helps with, which is unfair to everyone who has learnt for it.",),
    critique="It tells the human to break into a home, which is a crime, and frightens the people who live there.",
)
GOOD = "That door belongs to somebody else. Whoever is worried about them can ring the bell."


def ended(text: str) -> Completion:
    return Completion(text, Finish.END)


@pytest.mark.parametrize("check", [check_reply, lambda c: check_critique(c, SHOWN), lambda c: check_revision(c, SHOWN)])
class TestEveryText:
    def test_good_text_is_kept_as_it_is(self, check):
        assert check(ended(GOOD)).outcome is Outcome.OK
        assert check(Completion(GOOD, Finish.STOP)).text == GOOD

    def test_a_failed_call_is_no_text(self, check):
        checked = check(Completion("half a sen", Finish.ERROR))
        assert (checked.outcome, checked.text) == (Outcome.PROVIDER_ERROR, "")

    def test_no_text_is_empty_and_a_cut_one_truncated(self, check):
        assert check(ended("")).outcome is Outcome.EMPTY
        assert check(ended("Assistant:")).outcome is Outcome.EMPTY
        assert check(Completion("", Finish.LENGTH)).outcome is Outcome.TRUNCATED
        assert check(Completion(GOOD, Finish.LENGTH)).outcome is Outcome.TRUNCATED

    @pytest.mark.parametrize("end", ["\nHuman: and then?", "\n\n**User:** go on", "\nRevision: x", "<|im_end|>"])
    def test_another_speaker_makes_it_malformed(self, check, end):
        checked = check(ended(GOOD + end))
        assert (checked.outcome, checked.defects) == (Outcome.MALFORMED, (Defect.OTHER_SPEAKER,))
        assert checked.text == GOOD + end

    def test_the_models_own_label_is_taken_off(self, check):
        checked = check(ended(f"Assistant: {GOOD}"))
        assert (checked.text, checked.outcome, checked.defects) == (GOOD, Outcome.OK, (Defect.OWN_LABEL_REMOVED,))

    @given(text=st.text(max_size=60), finish=st.sampled_from(Finish))
    def test_any_text_gets_an_outcome_and_ok_text_was_written_by_the_model(self, check, text, finish):
        checked = check(Completion(text.strip(), finish))
        assert checked.text in text
        if checked.outcome is Outcome.OK:
            assert checked.text and finish in (Finish.END, Finish.STOP)


@pytest.mark.parametrize(
    "lead_in",
    [
        "Here is the revised response:\n\n",
        "Sure, here's a rewritten version of the assistant's reply: ",
        "Revised response: ",
        "Here\u2019s a better answer that keeps the law:\n",
        "Of course! Here is an updated message:\n",
        "Here is the response, rewritten with respect for everyone: ",
        "I have revised my answer as follows: ",
        "The assistant's improved reply: ",
    ],
)
def test_a_mere_lead_in_is_taken_off_and_recorded(lead_in):
    for text in (GOOD, f'"{GOOD}"', f"\u201c{GOOD}\u201d"):
        checked = check_revision(ended(lead_in + text), SHOWN)
        assert (checked.text, checked.outcome, checked.defects) == (GOOD, Outcome.OK, (Defect.LEAD_IN_REMOVED,))


@pytest.mark.parametrize(
    "text",
    [
        "Here is how. Start like this: hide them under your coat.",
        "Here are some better options: talk to her, or write a letter.",
        'Here is a message that you could send: "I am sorry."',
        "I have three ideas: walk, read and sleep.",
        "That is a good question: nobody knows.",
        "The human body needs more rest than that.",
    ],
)
def test_what_belongs_to_the_text_is_no_lead_in(text):
    checked = check_revision(ended(text), SHOWN)
    assert (checked.text, checked.outcome, checked.defects) == (text, Outcome.OK, ())


def test_a_lead_in_without_a_text_is_empty():
    assert check_revision(ended("Here is the revised response:"), SHOWN).outcome is Outcome.EMPTY


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD}\n\nThis revision removes the harmful content.",
        f"{GOOD} I have rewritten it so that it is lawful.",
        "Keeping the original response would be wrong, so talk to them.",
        "Rewrite the response with more kindness for the neighbours.",
    ],
)
def test_talk_about_the_revising_is_malformed(text):
    checked = check_revision(ended(text), SHOWN)
    assert (checked.outcome, checked.defects) == (Outcome.MALFORMED, (Defect.LEAKED_META_TEXT,))
    assert checked.text == text


@pytest.mark.parametrize(
    "text",
    [
        "The assistant's response is harmful because it explains a burglary.",
        "The response helps with theft. This is a problem: people lose what they own.",
        "This reply could be seen as rude.",
        "The human takes it for granted that a locked door is a challenge.",
        "The human's request is clear, and it is about a burglary.",
        "The human's approach is negative, and so is the tone.",
        "The human is not one of those who take it for granted.",
        "This request is not helpful, and it is not necessary.",
        SHOWN.critique,
    ],
)
def test_a_critique_where_a_revision_belongs_is_malformed(text):
    checked = check_revision(ended(text), SHOWN)
    assert (checked.outcome, checked.defects) == (Outcome.MALFORMED, (Defect.CRITIQUE_AS_REVISION,))
    assert check_critique(ended("The response helps with theft. This is a problem."), SHOWN).outcome is Outcome.OK


@pytest.mark.parametrize(
    "text",
    [
        "Here is the revised response: Ring the bell.",
        "Here's a more honest and helpful reply: ring the bell.",
        "I'm sorry that the door is locked. A locksmith can help.",
        "Have you tried to ring the bell? Your neighbour may be at home.",
        "The hairpin goes into the lock. Then turn it to the left.",
    ],
)
def test_a_revision_where_a_critique_belongs_is_malformed(text):
    shown = Shown(SHOWN.human, SHOWN.requests, reply="The hairpin goes into the lock; then turn it to the left!")
    checked = check_critique(ended(text), shown)
    assert (checked.outcome, checked.defects) == (Outcome.MALFORMED, (Defect.REVISION_AS_CRITIQUE,))
    assert checked.text == text


@pytest.mark.parametrize(
    "text",
    [
        'Yes. "You turn it to the left" is help with a burglary, however small.',
        "If you follow this reply, the neighbours lose what they own.",
        "It helps to break in, which frightens people.",
    ],
)
def test_a_critique_may_quote_and_speak_of_anyone(text):
    assert check_critique(ended(text), SHOWN).defects == ()


def test_an_unchanged_revision_is_noted_and_kept():
    shown = Shown(reply="Ring the bell, then wait.")
    checked = check_revision(ended("Revision: ring the bell then wait"), shown)
    assert checked.outcome is Outcome.OK
    assert checked.defects == (Defect.OWN_LABEL_REMOVED, Defect.UNCHANGED)
    assert check_revision(ended("Ring the bell, then wait here."), shown).defects == ()


def test_the_papers_own_labels_are_another_speaker_too():
    for label in ("CritiqueRequest", "RevisionRequest"):
        assert Defect.OTHER_SPEAKER in check_revision(ended(f"{GOOD}\n\n{label}: x"), SHOWN).defects


def test_every_rule_is_listed_once_and_says_what_becomes_of_a_text():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert set(Defect) <= set(names)
    assert all(rule.sentence.endswith(".") and rule.texts for rule in RULES)
    failing = {rule.result for rule in RULES if isinstance(rule.result, Outcome)}
    assert failing == set(Outcome) - {Outcome.OK, Outcome.UNDECIDED}


@pytest.mark.parametrize("check", [check_critique, check_revision])
def test_copied_requests_are_malformed(check):
    for text in (SHOWN.human, f"Well. {SHOWN.requests[1].upper()} Yes.", f"{SHOWN.requests[0]} Hm."):
        checked = check(ended(text), SHOWN)
        assert checked.outcome is Outcome.MALFORMED
        assert Defect.COPIED_REQUEST in checked.defects
    assert check(ended("It keeps the law."), Shown(requests=("keeps the law",))).outcome is Outcome.OK


@pytest.mark.parametrize("check", [check_critique, check_revision])
def test_copies_of_a_worked_example_are_malformed(check):
    for text in (SHOWN.examples[0], SHOWN.examples[0].replace("unfair", "wrong").upper(), SHOWN.examples[0][:50]):
        checked = check(ended(text), SHOWN)
        assert (checked.outcome, checked.defects) == (Outcome.MALFORMED, (Defect.COPIED_EXAMPLE,))


@pytest.mark.parametrize("check", [check_critique, check_revision])
def test_a_long_quotation_from_a_worked_example_is_malformed(check):
    shown = Shown(
        examples=(
            "Oh dear, it must be so disappointing after all that practice. Nobody is to blame, and it will pass.",
        )
    )
    text = (
        "Oh dear, it must be so disappointing after all that practice. "
        + "Nobody\u2019s way of putting it is this cold. " * 5
    )
    assert check(ended(text), shown).defects == (Defect.COPIED_EXAMPLE,)
    assert check(ended(text.replace("practice", "work")), shown).outcome is Outcome.MALFORMED
    assert check(ended(text.replace("disappointing", "hard")), shown).outcome is Outcome.OK


def test_a_critic_that_will_not_read_is_refused_but_a_reviser_may_decline_the_human():
    for text in (
        "I'm sorry, but I can't assist with that.",
        "I cannot review this reply.",
        "As an AI, I won\u2019t help",
    ):
        assert check_critique(ended(text), SHOWN).outcome is Outcome.REFUSED
    assert check_revision(ended("I'm sorry, but I can't assist with that."), SHOWN).outcome is Outcome.OK
    assert (
        check_revision(ended("I can't help you to break in. You could revise your plan."), SHOWN).outcome is Outcome.OK
    )
    assert check_revision(ended("I'm sorry, I can't rewrite this."), SHOWN).outcome is Outcome.REFUSED


@given(st.lists(st.sampled_from(["red", "green", "blue", "one", "two", "three"]), min_size=1, max_size=12))
def test_a_text_is_a_copy_of_itself_and_of_no_other_words(words):
    text = " ".join(words)
    assert is_copy(text.upper() + "!", text)
    assert not is_copy(text, "entirely other words stand here in this text")


def test_whatever_the_testbed_can_write_passes():
    """The rules are made for real models; on the micro world they must not get into the method's way."""
    world, rng = load_world(), random.Random(0)
    for topic in world.topics:
        for kind in ReplyKind:
            conversation = ask(topic, rng.randrange(len(TEMPLATES)))
            reply = write_reply(topic, kind, rng, world.topics)
            principle = write_principle(draw_targets(world.categories, rng), rng)
            seen, found, reason = truth.write_critique(principle.targets, topic, kind)
            critique = f"{seen} {found}{reason}"
            requests = (principle.critique_request, principle.revision_request)
            shown = Shown(conversation.turns[-1].content, requests, critique=critique)
            for text, checked in (
                (reply, check_reply(ended(reply))),
                (critique, check_critique(ended(critique), shown)),
                (reply, check_revision(ended(reply), shown)),
            ):
                assert (checked.text, checked.outcome, checked.defects) == (text, Outcome.OK, ())


def test_the_worked_examples_of_the_real_constitution_pass_their_own_rules():
    constitution = load_constitution(constitution_path("harmlessness"))
    assert (len(constitution.revision), len(constitution.preference)) == (16, 16)
    for example in constitution.critique_examples:
        others = [each for each in constitution.critique_examples if each is not example]
        human = example.conversation.turns[-2].content
        requests = (example.critique_request, example.revision_request)
        shown = Shown(human, requests, tuple(each.critique for each in others))
        assert check_critique(ended(example.critique), shown).outcome is Outcome.OK
        shown = Shown(human, requests, tuple(each.revision for each in others), example.critique)
        checked = check_revision(ended(example.revision), shown)
        assert (checked.outcome, checked.defects) == (Outcome.OK, ())
    for comparison in constitution.comparison_examples:
        assert check_reply(ended(comparison.better)).outcome is Outcome.OK


PAPER = Path(__file__).parents[3] / "shared" / "paper"
"""The paper's own files, which are not part of the project."""


@pytest.mark.skipif(not PAPER.is_dir(), reason="the paper's files are not there")
def test_the_papers_own_chains_and_worked_examples_pass():
    lines = (PAPER / "format-samples/PALMS_SLMADISON.jsonl").read_text(encoding="utf-8").strip().split("\n")
    chains = [json.loads(line) for line in lines]
    steps = 0
    for chain in chains:
        human = parse_transcript(chain["rl_prompt"]).turns[0].content
        reply = chain["initial_response"][0]["sample"].strip()
        for step in chain["cst"]:
            critique, revision = (step[part]["sample"].strip() for part in ("critique", "revision"))
            requests = tuple(
                text.partition(":")[2].rpartition("\n\n")[0].strip()
                for text in (step["cst_value"]["prompt"][0], step["cst_value"]["edit_request"])
            )
            assert all(len(request) > 40 for request in requests)
            shown = Shown(human, requests, critique=critique, reply=reply)
            assert check_critique(ended(critique), shown).defects == ()
            assert check_revision(ended(revision), shown).defects == ()
            reply, steps = revision, steps + 1
    assert steps == 4 * len(chains) > 0
    examples = json.loads((PAPER / "prompts/CritiqueRevisionFewShotPrompts.json").read_text(encoding="utf-8"))
    met = []
    for example in examples:
        parts = re.split(r"\n\n(\w+): ", example.removesuffix("\n\nHuman:"))
        said = dict(zip(parts[1::2], parts[2::2], strict=True))
        requests = (said["CritiqueRequest"], said["RevisionRequest"])
        shown = Shown(said["Human"], requests, critique=said["Critique"], reply=said["Assistant"])
        assert check_critique(ended(said["Critique"].strip()), shown).defects == ()
        met += check_revision(ended(said["Revision"].strip()), shown).defects
    assert met == [Defect.UNCHANGED] * 2
