"""A conversation whose replies are criticised and revised as a run would."""

import json
from pathlib import Path

import pytest

from solon.api import critique_and_revise, load_constitution, load_recipe
from solon.config.recipe import Recipe, SamplingParams
from solon.conversation import Conversation, Prompt, Role
from solon.engines.scripted import ScriptedEngine
from solon.errors import EngineError, InputError
from solon.pipeline.chat_session import ChatSession, Score
from solon.runs.outcome import Outcome
from solon.sources.prompt_files import read_prompts

PICK = "How do I pick a lock?"


def writer(prompt: Prompt, seed: int) -> str:
    """Answers, criticises and revises in words that name the seed and what was read last."""
    if prompt.reply_as is Role.CRITIQUE:
        return f"The fault is number {seed % 997}."
    if prompt.reply_as is Role.REVISION:
        return f"It is better to ask a locksmith, {seed % 997}."
    return f"You need two picks, {seed % 997}, after {len(prompt.turns)} turns."


def recipe_of(*settings: str) -> Recipe:
    return load_recipe("testbed", settings=settings)


def session(
    engine: ScriptedEngine | None = None, recipe: Recipe | None = None, score: Score | None = None
) -> ChatSession:
    engine = engine or ScriptedEngine(writer)
    return ChatSession(engine, recipe or recipe_of(), load_constitution("testbed"), lambda: engine, score)


def test_a_step_is_that_of_critique_and_revise_with_the_same_seed() -> None:
    talk = session(recipe=recipe_of("revision.few_shot=0", "revision.critique.max_tokens=256", "seed=5"))
    reply = talk.say(PICK)
    drawn, critique = talk.criticise()
    _, revision = talk.revise()
    [chain] = critique_and_revise(
        ScriptedEngine(writer), PICK, "testbed", steps=1, sampling=SamplingParams(max_tokens=256), seed=5
    )
    [step] = chain.steps
    assert (reply.text, drawn.id) == (chain.reply, step.principle_id)
    assert (critique.text, revision.text) == (step.critique, step.revision)


def test_the_conversation_goes_on_with_the_revision() -> None:
    engine = ScriptedEngine(writer)
    talk = session(engine)
    talk.say(PICK)
    talk.criticise("fairness")
    principle, revision = talk.revise()
    assert principle.id == "fairness"
    assert talk.state.turns[-1].content == revision.text
    talk.say("And then?")
    assert [turn.content for turn in engine.prompts[-1].turns][1] == revision.text


def test_a_second_revision_is_another_step_with_seeds_of_its_own() -> None:
    talk = session()
    talk.say(PICK)
    first = [talk.criticise("1")[1].text, talk.revise()[1].text]
    second = [talk.criticise("1")[1].text, talk.revise()[1].text]
    assert first[0] != second[0] and first[1] != second[1]
    assert talk.state.steps == 2


def test_a_revision_that_breaks_the_rules_leaves_the_reply() -> None:
    def leaking(prompt: Prompt, seed: int) -> str:
        return "Human: yes" if prompt.reply_as is Role.REVISION else writer(prompt, seed)

    talk = session(ScriptedEngine(leaking))
    reply = talk.say(PICK)
    talk.criticise("fairness")
    _, revision = talk.revise()
    assert revision.outcome is Outcome.MALFORMED
    assert talk.state.turns[-1].content == reply.text


def test_a_critique_that_fails_is_not_given_to_the_reviser() -> None:
    talk = session(
        ScriptedEngine(lambda prompt, seed: "" if prompt.reply_as is Role.CRITIQUE else writer(prompt, seed))
    )
    talk.say(PICK)
    assert talk.criticise("fairness")[1].outcome is Outcome.EMPTY
    with pytest.raises(InputError, match="no critique waits"):
        talk.revise()


def test_the_direct_mode_revises_without_a_critique() -> None:
    engine = ScriptedEngine(writer)
    talk = session(engine, recipe_of("revision.mode=direct"))
    talk.say(PICK)
    talk.revise("fairness")
    assert all(turn.role is not Role.CRITIQUE for turn in engine.prompts[-1].turns[-2:])
    assert talk.state.steps == 1


def test_undo_takes_back_one_change_and_the_same_words_get_another_reply() -> None:
    talk = session()
    reply = talk.say(PICK).text
    talk.criticise("fairness")
    talk.revise()
    assert talk.undo() and talk.state.turns[-1].content == reply and talk.awaits_revision(None)
    assert talk.undo() and not talk.awaits_revision(None)
    assert talk.undo() and talk.state.turns == () and not talk.undo()
    assert talk.say(PICK).text != reply


def test_a_new_conversation_can_be_taken_back_too() -> None:
    talk = session()
    talk.say(PICK)
    talk.reset()
    assert talk.state.turns == ()
    assert talk.undo() and len(talk.state.turns) == 2


def test_what_is_saved_is_read_as_conversations(tmp_path: Path) -> None:
    talk, file = session(), tmp_path / "chat.jsonl"
    talk.say(PICK)
    talk.criticise("fairness")
    talk.revise()
    talk.save(file)
    talk.reset()
    talk.say("Hello?\nIs anybody there?")
    talk.save(file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["revised"][0]["principle_id"] == "fairness"
    assert [found.conversation.turns[0].content for found in read_prompts(file).prompts] == [
        PICK,
        "Hello?\nIs anybody there?",
    ]


def test_each_reply_and_revision_is_scored_in_its_conversation() -> None:
    scored: list[Conversation] = []

    def score(conversation: Conversation) -> float:
        scored.append(conversation)
        return float(len(scored))

    talk = session(score=score)
    assert talk.say(PICK).score == 1.0
    talk.criticise("fairness")
    assert talk.revise()[1].score == 2.0
    assert [len(each.turns) for each in scored] == [2, 2]
    assert scored[-1].turns[-1].content == talk.state.turns[-1].content


def test_what_cannot_be_done_says_why_and_changes_nothing() -> None:
    talk = session(ScriptedEngine(writer, window=300))
    for action, cause in (
        (talk.criticise, "no reply to criticise yet"),
        (lambda: talk.say(" \n"), "message is empty"),
        (lambda: talk.save(Path("chat.jsonl")), "no conversation to save"),
        (lambda: talk.say("word " * 280), "leaves no room"),
    ):
        with pytest.raises((InputError, EngineError), match=cause):
            action()
    assert talk.state.turns == ()
    talk.say(PICK)
    with pytest.raises(InputError, match=r"no principle 'fairnes'.*Did you mean 'fairness'"):
        talk.criticise("fairnes")


def test_an_empty_reply_leaves_the_conversation() -> None:
    talk = session(ScriptedEngine(lambda prompt, seed: "  "))
    assert talk.say(PICK).outcome is Outcome.EMPTY
    assert talk.state.turns == ()
