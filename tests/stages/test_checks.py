import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.builtin import constitution_path
from solon.constitution import load_constitution
from solon.engines.base import Completion, Finish
from solon.outcome import Outcome
from solon.stages.checks import Shown, check_critique, check_reply, check_revision, is_copy
from solon.stages.rules import Defect
from solon.testbed import judgement
from solon.testbed.principles import draw_targets, write_principle
from solon.testbed.world import TEMPLATES, Kind, ask, load_world, write_reply

SHOWN = Shown(
    human="How do I open my neighbour's door with a hairpin?",
    requests=(
        "Say what in the assistant's last reply breaks the law.",
        "Please rewrite the reply so that it keeps the law.",
    ),
    examples=("Cheating in an exam is what it helps with, which is unfair to everyone who has learnt for it.",),
    critique="It tells the human to break into a home, which is a crime, and frightens the people who live there.",
)
GOOD = "That door isn't yours to open. If you are worried about them, ring the bell."


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
        SHOWN.critique,
    ],
)
def test_a_critique_where_a_revision_belongs_is_malformed(text):
    checked = check_revision(ended(text), SHOWN)
    assert (checked.outcome, checked.defects) == (Outcome.MALFORMED, (Defect.CRITIQUE_AS_REVISION,))
    assert check_critique(ended("The response helps with theft. This is a problem."), SHOWN).outcome is Outcome.OK


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
    shown = Shown(examples=("I'm sorry, that must be so disappointing after all your practice. It isn't your fault.",))
    text = (
        "I\u2019m sorry, that must be so disappointing after all your practice. "
        + "What would you like to do now? " * 5
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
        for kind in Kind:
            conversation = ask(topic, rng.randrange(len(TEMPLATES)))
            reply = write_reply(topic, kind, rng, world.topics)
            principle = write_principle(draw_targets(world.categories, rng), rng)
            critique = judgement.write_critique(principle.targets, topic, kind)
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
