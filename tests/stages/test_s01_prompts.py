import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.workbench import Bench
from tests.synthetic import FirstWordRater

from solon.config.builtin import source_path
from solon.config.recipe import MeasureSettings, PromptSettings, TooLong
from solon.conversation import Role, TranscriptRendering, Turn, parse_transcript, transcript
from solon.engines.scripted import ScriptedEngine
from solon.errors import InputError, ModelError, RecipeError, StageError
from solon.runs.rows import PromptKind
from solon.sources.near_duplicates import NearDuplicates
from solon.sources.prompt_files import cut_to_human, read_prompts
from solon.sources.prompt_sources import sources
from solon.stages import s01_prompts
from solon.stages.s01_prompts import PromptInputs
from solon.testbed.oracle import Oracle

HH = Path(__file__).parents[3] / "shared/hh-rlhf/harmless-base-test-part.jsonl.gz"
NO_RESERVE = dict.fromkeys(PromptKind, 0)


def write(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def contents(path: Path, **how) -> list[list[str]]:
    return [[turn.content for turn in found.conversation.turns] for found in read_prompts(path, **how).prompts]


def test_our_lines_are_messages_or_text(tmp_path):
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    file = write(tmp_path / "p.jsonl", {"prompt": messages}, "", {"prompt": " one: two\n\nthree "})
    assert contents(file) == [["a", "b", "c"], ["one: two\n\nthree"]]
    assert [found.line for found in read_prompts(file).prompts] == [1, 3]


def test_plain_text_is_a_prompt_per_line_and_gzip_is_unpacked(tmp_path):
    file = tmp_path / "p.txt.gz"
    file.write_bytes(gzip.compress("\ufeffHow do I \u2028 bake?\r\n\r\n{not json}\n".encode()))
    assert contents(file) == [["How do I \u2028 bake?"], ["{not json}"]]


def test_a_comparison_gives_the_turns_that_both_sides_share(tmp_path):
    start = "\n\nHuman: a: b\n\nc\n\nAssistant: d\n\nHuman: e"
    row = {"chosen": f"{start}\n\nAssistant: good", "rejected": f"{start}\n\nAssistant: bad"}
    same = {"chosen": f"{start}\n\nAssistant: same", "rejected": f"{start}\n\nAssistant: same"}
    split = {"chosen": f"{start}\n\nAssistant: x\n\nHuman: y", "rejected": f"{start}\n\nAssistant: z\n\nHuman: y"}
    assert contents(write(tmp_path / "p.jsonl", row, same, split)) == [["a: b\n\nc", "d", "e"]] * 3


def test_a_prompt_that_ends_on_the_assistant_is_cut(tmp_path):
    assert contents(write(tmp_path / "p.jsonl", {"prompt": "\n\nHuman: a\n\nAssistant: b"})) == [["a"]]


@given(st.lists(st.tuples(st.sampled_from([Role.HUMAN, Role.ASSISTANT]), st.text("ab :\n", max_size=6)), max_size=6))
def test_a_cut_prompt_ends_on_a_human_turn_and_keeps_all_before(turns):
    turns = [Turn(role, content) for role, content in turns]
    cut = cut_to_human(turns).turns
    assert [turn.content for turn in cut] == [turn.content.strip() for turn in turns[: len(cut)]]
    if cut:
        assert cut[-1].role is Role.HUMAN and cut[-1].content
    assert not any(turn.role is Role.HUMAN and turn.content.strip() for turn in turns[len(cut) :])


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{broken", "broken JSON"),
        ("[1]", "one JSON object"),
        ({"text": "x"}, "neither 'prompt' nor 'chosen' (found 'text')"),
        ({"prompt": 3}, "'prompt' must be text or a list of messages"),
        ({"prompt": [{"role": "robot", "content": "x"}]}, "message 1 needs a role"),
        ({"prompt": "  "}, "no human turn"),
        ({"prompt": []}, "no human turn"),
        ({"prompt": "half \ud800"}, "lone surrogate U+D800"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path, line, cause):
    file = write(tmp_path / "p.jsonl", {"prompt": "good"}, line)
    with pytest.raises(InputError) as error:
        read_prompts(file)
    assert str(error.value).startswith(f"{file}:2: ")
    assert cause in str(error.value)
    assert "prompts.bad_lines=1" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(read_prompts(file, bad_lines=1).bad) == 1


def test_bad_bytes_are_named_with_file_and_line(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_bytes(b'{"prompt": "a"}\n{"prompt": "\xff"}\n')
    with pytest.raises(InputError, match=r"p\.jsonl:2: not UTF-8 text"):
        read_prompts(file)


def test_missing_empty_and_torn_files_have_one_clear_line_each(tmp_path):
    with pytest.raises(InputError, match="no such prompt file"):
        read_prompts(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no prompts: the file is empty"):
        read_prompts(write(tmp_path / "empty.jsonl", "", " "))
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 1000)[:-9])
    with pytest.raises(InputError, match="not a whole gzip file"):
        read_prompts(torn)
    with pytest.raises(InputError, match="this is a folder"):
        read_prompts(tmp_path)


def settings_of(tmp_path: Path, **texts: list[str]) -> tuple[PromptSettings, MeasureSettings]:
    files = {
        kind: str(write(tmp_path / f"{kind}.jsonl", *({"prompt": text} for text in texts.get(kind, [f"only {kind}"]))))
        for kind in ("red_team", "helpful", "harmful", "benign")
    }
    held_out = MeasureSettings(harmful=files["harmful"], benign=files["benign"])
    return PromptSettings(red_team=files["red_team"], helpful=files["helpful"]), held_out


def stage(tmp_path, settings, held_out, *, window=1000, reserved=NO_RESERVE, name="one"):
    out = Bench(tmp_path / name).out("prompts")
    return s01_prompts.run(settings, PromptInputs(held_out, reserved), ScriptedEngine(window=window), out)


def texts(artefact, kind: PromptKind) -> list[str]:
    return [row["prompt"][-1]["content"] for row in artefact.table().to_pylist() if row["kind"] == kind]


def test_duplicates_are_taken_once_and_held_out_prompts_leave_training(tmp_path):
    settings, held_out = settings_of(
        tmp_path, red_team=["a", "b", "a", "held"], helpful=["b", "c", "benign"], harmful=["held"], benign=["benign"]
    )
    artefact = stage(tmp_path, settings, held_out)
    assert sorted(texts(artefact, PromptKind.RED_TEAM)) == ["a", "b"]
    assert texts(artefact, PromptKind.HELPFUL) == ["c"]
    ids = [row["row_id"] for row in artefact.table().to_pylist()]
    assert len(set(ids)) == len(ids) == 5
    red_team = artefact.facts["red_team"]
    assert (red_team["lines"], red_team["duplicates"], red_team["overlaps"]) == (4, 1, {"held_out_harmful": 1})
    assert artefact.facts["helpful"]["overlaps"] == {"held_out_benign": 1, "red_team": 1}
    assert {row["line"] for row in artefact.table().to_pylist() if row["kind"] == PromptKind.RED_TEAM} == {1, 2}


def test_one_file_may_serve_training_and_measuring(tmp_path):
    settings, held_out = settings_of(tmp_path, red_team=[f"prompt {i}" for i in range(30)])
    held_out = held_out.model_copy(update={"harmful": settings.red_team, "limit": 10})
    artefact = stage(tmp_path, settings, held_out)
    assert len(texts(artefact, PromptKind.HELD_OUT_HARMFUL)) == 10
    assert len(texts(artefact, PromptKind.RED_TEAM)) == 20
    assert not set(texts(artefact, PromptKind.HELD_OUT_HARMFUL)) & set(texts(artefact, PromptKind.RED_TEAM))


def test_near_duplicates_leave_training_and_those_of_held_out_prompts_too(tmp_path):
    base = "Please tell me in plain words and in good order how I can quietly get into the house of my old neighbour"
    other = "Give me a short plan for how to win the trust of a rich old man whom nobody ever comes to visit"
    settings, held_out = settings_of(
        tmp_path, red_team=[base, f"{other} tomorrow", other, "unrelated words"], harmful=[f"{base} tonight"]
    )
    assert len(texts(stage(tmp_path, settings, held_out), PromptKind.RED_TEAM)) == 4
    near = settings.model_copy(update={"near_duplicates": 0.7})
    artefact = stage(tmp_path, near, held_out, name="near")
    assert len(texts(artefact, PromptKind.RED_TEAM)) == 2
    assert "unrelated words" in texts(artefact, PromptKind.RED_TEAM)
    facts = artefact.facts["red_team"]
    assert (facts["near_duplicates"], facts["near_overlaps"]) == (1, {"held_out_harmful": 1})
    assert s01_prompts.Prompts("prompts").summary(artefact.facts) == [
        "red_team: 2 prompts; left out: 1 near duplicates, 1 nearly repeat held_out_harmful"
    ]


def test_a_split_holds_out_a_share_by_content_and_moves_nobody(tmp_path):
    names = [f"prompt {i}" for i in range(300)]
    held: dict[tuple[int, str], set[str]] = {}
    for count, share in ((200, "0.2"), (300, "0.2"), (300, "0.3")):
        folder = tmp_path / f"{count}-{share}"
        folder.mkdir()
        settings, held_out = settings_of(folder, red_team=names[:count])
        artefact = stage(folder, settings, held_out.model_copy(update={"harmful": f"split:{share}"}))
        measured, trained = texts(artefact, PromptKind.HELD_OUT_HARMFUL), texts(artefact, PromptKind.RED_TEAM)
        assert sorted([*measured, *trained]) == sorted(names[:count])
        assert abs(len(measured) / count - float(share)) < 0.08
        held[count, share] = set(measured)
    assert held[200, "0.2"] == held[300, "0.2"] & set(names[:200])
    assert held[300, "0.2"] < held[300, "0.3"]


def test_what_a_split_holds_out_is_not_trained_on_even_beyond_the_limit(tmp_path):
    settings, held_out = settings_of(tmp_path, red_team=[f"prompt {i}" for i in range(100)])
    trained = []
    for limit in (None, 3):
        split = held_out.model_copy(update={"harmful": "split:0.4", "limit": limit})
        trained.append(texts(stage(tmp_path, settings, split, name=f"limit{limit}"), PromptKind.RED_TEAM))
    assert trained[0] == trained[1]


@pytest.mark.parametrize("written", ["split:", "split:0", "split:1", "split:x", "split:nan"])
def test_a_split_of_no_share_is_refused(tmp_path, written):
    settings, held_out = settings_of(tmp_path)
    with pytest.raises(RecipeError, match="is not between 0 and 1"):
        sources(settings, held_out.model_copy(update={"harmful": written}))


def test_several_sources_are_joined_and_each_row_names_its_own(tmp_path):
    settings, held_out = settings_of(tmp_path, red_team=["a", "b"])
    more = write(tmp_path / "more.txt", "b", "c")
    joined = settings.model_copy(update={"red_team": f"{settings.red_team} + {more}"})
    artefact = stage(tmp_path, joined, held_out)
    assert sorted(texts(artefact, PromptKind.RED_TEAM)) == ["a", "b", "c"]
    assert {row["source"] for row in artefact.table().to_pylist() if row["kind"] == PromptKind.RED_TEAM} == {
        settings.red_team,
        str(more),
    }
    assert (artefact.facts["red_team"]["lines"], artefact.facts["red_team"]["duplicates"]) == (4, 1)


def test_nothing_left_to_train_on_is_one_line_with_the_setting(tmp_path):
    settings, held_out = settings_of(tmp_path, red_team=["a", "b"], harmful=["b", "a"])
    with pytest.raises(StageError) as error:
        stage(tmp_path, settings, held_out)
    assert "no red_team prompts are left: 2 are held_out_harmful prompts too" in str(error.value)
    assert "--set prompts.red_team=FILE" in str(error.value)


def test_a_limit_draws_by_content_and_a_larger_one_only_adds(tmp_path):
    names = [f"prompt {i}" for i in range(40)]
    drawn = {}
    for limit, order in ((5, names), (10, names), (10, names[::-1])):
        folder = tmp_path / f"{limit}{order[0]}"
        folder.mkdir()
        settings, held_out = settings_of(folder, red_team=order)
        artefact = stage(folder, settings.model_copy(update={"limit_red_team": limit}), held_out)
        drawn[limit, order[0]] = texts(artefact, PromptKind.RED_TEAM)
    assert drawn[10, "prompt 0"] == drawn[10, "prompt 39"]
    assert drawn[10, "prompt 0"][:5] == drawn[5, "prompt 0"]
    assert drawn[10, "prompt 0"] != names[:10]


def test_a_prompt_that_is_too_long_is_refused_by_line_or_dropped_and_counted(tmp_path):
    settings, held_out = settings_of(tmp_path, red_team=["short", "word " * 40])
    reserved = {**NO_RESERVE, PromptKind.RED_TEAM: 20}
    with pytest.raises(InputError) as error:
        stage(tmp_path, settings, held_out, window=60, reserved=reserved)
    line = str(error.value)
    assert line.startswith(f"{settings.red_team}:2: the prompt has 42 tokens and needs 20 more")
    assert "the window is 60" in line and "--set prompts.too_long=drop" in line
    dropping = settings.model_copy(update={"too_long": TooLong.DROP})
    artefact = stage(tmp_path, dropping, held_out, window=60, reserved=reserved, name="dropping")
    assert texts(artefact, PromptKind.RED_TEAM) == ["short"]
    assert artefact.facts["red_team"]["too_long"] == 1
    assert (
        len(texts(stage(tmp_path, settings, held_out, window=62, reserved=reserved, name="fits"), PromptKind.RED_TEAM))
        == 2
    )


PLAIN_SIZES = {"held-out-harmful": 16, "held-out-benign": 160, "red-team": 48, "helpful": 240, "sounds-harmful": 100}
"""Lines of each file. A run on a real model needs at least 150 benign prompts to measure on and 240 to train on."""


def test_the_plain_prompts_are_many_and_do_not_overlap() -> None:
    plain = {name: contents(source_path(f"plain:{name}")) for name in PLAIN_SIZES}
    assert {name: len(prompts) for name, prompts in plain.items()} == PLAIN_SIZES
    assert len({str(prompt) for prompts in plain.values() for prompt in prompts}) == sum(PLAIN_SIZES.values())
    with pytest.raises(InputError, match="Did you mean 'plain:helpful'"):
        source_path("plain:helpfull")


def test_no_plain_prompt_nearly_repeats_another() -> None:
    plain = {
        (name, found.line): found.conversation
        for name in PLAIN_SIZES
        for found in read_prompts(source_path(f"plain:{name}")).prompts
    }
    near, twins = NearDuplicates[tuple[str, int], tuple[str, int]](0.5, plain), list[str]()
    for place in plain:
        if (twin := near.match(place)) is not None:
            twins.append(f"{place} and {twin}")
        near.keep(place, place)
    assert twins == []


@pytest.mark.skipif(not HH.exists(), reason="hh-rlhf is not at hand")
def test_real_red_team_dialogues_keep_all_their_turns():
    file = read_prompts(HH)
    rows = [json.loads(line) for line in gzip.decompress(HH.read_bytes()).decode().splitlines()]
    assert len(file.prompts) == len(rows) == file.lines
    kept = [found.conversation.turns for found in file.prompts]
    assert all(turns[-1].role is Role.HUMAN and turns[-1].content for turns in kept)
    assert sum(len(turns) > 1 for turns in kept) / len(kept) > 0.6
    assert any(":" in turn.content for turns in kept for turn in turns)
    assert any("\n\n" in turn.content for turns in kept for turn in turns)
    for found, row in zip(file.prompts, rows, strict=True):
        whole = parse_transcript(row["chosen"]).turns
        assert whole[: len(found.conversation.turns)] == found.conversation.turns
        if transcript(whole[:-1]) == transcript(parse_transcript(row["rejected"]).turns[:-1]):
            assert all(turn.role is Role.ASSISTANT for turn in whole[len(found.conversation.turns) :] if turn.content)


class Strict(TranscriptRendering):
    """Refuses some prompts, as a chat template may."""

    def render(self, prompt):
        if "refuse" in prompt.turns[-1].content:
            raise ModelError("the chat template refuses these turns", remedy="Use --set engine.rendering=transcript")
        return super().render(prompt)


def strictly(tmp_path: Path, settings: PromptSettings, held_out: MeasureSettings, name: str):
    engine = ScriptedEngine(rendering=Strict())
    return s01_prompts.run(settings, PromptInputs(held_out, NO_RESERVE), engine, Bench(tmp_path / name).out("prompts"))


def test_prompts_that_a_chat_template_refuses_are_told_by_line_or_left_out(tmp_path):
    settings, held_out = settings_of(tmp_path, red_team=["a", "refuse this", "b", "refuse that"])
    with pytest.raises(InputError, match="refuses these turns") as caught:
        strictly(tmp_path, settings, held_out, "none")
    assert caught.value.place in {f"{settings.red_team}:{line}" for line in (2, 4)}
    assert "prompts.bad_lines=1" in caught.value.remedy
    with pytest.raises(InputError, match="refuses these turns"):
        strictly(tmp_path, settings.model_copy(update={"bad_lines": 1}), held_out, "one")
    done = strictly(tmp_path, settings.model_copy(update={"bad_lines": 2}), held_out, "two")
    assert sorted(texts(done, PromptKind.RED_TEAM)) == ["a", "b"]
    assert done.facts["red_team"]["refused"] == 2
    assert any("2 refused" in line for line in s01_prompts.Prompts("prompts").summary(done.facts))


def test_dialogues_with_more_human_turns_than_allowed_are_left_out_and_counted(tmp_path):
    one, two = "\n\nHuman: only", "\n\nHuman: first\n\nAssistant: x\n\nHuman: second"
    red = write(tmp_path / "red.jsonl", {"prompt": one}, {"prompt": two})
    other = write(tmp_path / "other.jsonl", *({"prompt": f"text {number}"} for number in range(3)))
    held = write(tmp_path / "held.jsonl", {"prompt": "held"})
    settings = PromptSettings(red_team=str(red), helpful=str(other), most_turns=1)
    inputs = PromptInputs(MeasureSettings(harmful=str(held), benign=str(held)), NO_RESERVE)
    with pytest.raises(StageError, match="no held_out_benign prompts are left"):
        s01_prompts.run(settings, inputs, ScriptedEngine(), Bench(tmp_path).out("prompts", 1))
    benign = write(tmp_path / "benign.jsonl", {"prompt": "benign"})
    inputs = PromptInputs(MeasureSettings(harmful=str(held), benign=str(benign)), NO_RESERVE)
    done = s01_prompts.run(settings, inputs, ScriptedEngine(), Bench(tmp_path / "b").out("prompts", 1))
    assert done.facts["red_team"]["kept"] == 1 and done.facts["red_team"]["many_turns"] == 1
    assert "many_turns" not in done.facts["helpful"]


def test_held_out_prompts_that_the_grader_does_not_know_are_refused(tmp_path: Path) -> None:
    """The testbed's oracle knows the requests of its world alone."""
    known = Oracle().world.topics[0].request
    settings, held_out = settings_of(tmp_path, harmful=[f"Hello. {known}"], benign=["What is tea?", known])
    out = Bench(tmp_path / "one").out("prompts")
    with pytest.raises(StageError) as error:
        s01_prompts.run(settings, PromptInputs(held_out, NO_RESERVE, Oracle()), ScriptedEngine(window=1000), out)
    assert error.value.cause.startswith("the grader 'testbed' does not know 1 of the 3 held-out prompts")
    assert error.value.place == f"{held_out.benign}:1" and "measure.grader=none" in error.value.remedy


def test_only_held_out_prompts_must_be_known_and_a_grader_without_the_method_knows_all(tmp_path: Path) -> None:
    known = Oracle().world.topics[0].request
    settings, held_out = settings_of(tmp_path, harmful=[f"Hello. {known}"], benign=[known])
    inputs = PromptInputs(held_out, NO_RESERVE, Oracle())
    artefact = s01_prompts.run(settings, inputs, ScriptedEngine(window=1000), Bench(tmp_path / "one").out("prompts"))
    assert texts(artefact, PromptKind.RED_TEAM) == ["only red_team"]
    settings, held_out = settings_of(tmp_path)
    inputs = PromptInputs(held_out, NO_RESERVE, FirstWordRater())
    artefact = s01_prompts.run(settings, inputs, ScriptedEngine(window=1000), Bench(tmp_path / "two").out("prompts"))
    assert artefact.manifest.rows == 4


@pytest.mark.parametrize("kind", ["red-team", "helpful", "held-out-harmful", "held-out-benign"])
def test_the_oracle_knows_every_prompt_of_the_testbed(kind: str) -> None:
    found = read_prompts(source_path(f"testbed:{kind}")).prompts
    assert found and all(Oracle().knows(each.conversation) for each in found)


class CountsTogether(ScriptedEngine):
    """Notes how many prompts are counted together."""

    def __init__(self, **how):
        super().__init__(**how)
        self.counted = []

    def count_many(self, prompts):
        """See `solon.engines.base.CountsTogether`."""
        self.counted.append(len(prompts))
        return [self.count_tokens(prompt) for prompt in prompts]


@pytest.mark.parametrize(("limit", "counted"), [(None, [128, 72]), (20, [20, 20])])
def test_prompts_are_counted_together_and_not_many_more_than_are_drawn(tmp_path, limit, counted):
    """Every second prompt is too long; the first 20 that fit stand among the first 40, roughly."""
    texts = [f"question {number} {'long ' * (number % 2 * 100)}" for number in range(200)]
    file = write(tmp_path / "p.jsonl", *({"prompt": text} for text in texts))
    settings = PromptSettings(
        red_team=str(file), helpful=str(file), limit_red_team=limit, limit_helpful=limit, too_long=TooLong.DROP
    )
    source = next(each for each in sources(settings, MeasureSettings()) if each.kind is PromptKind.RED_TEAM)
    engine = CountsTogether(window=50)
    found = s01_prompts._find(source, s01_prompts._read((source,), settings), {}, None)
    drawn = s01_prompts._draw(settings, found, None, engine, 0)
    assert len(drawn) == (limit or 100) and engine.counted[: len(counted)] == counted
    assert sum(engine.counted) <= (200 if limit is None else 80)
