from tests.stages.workbench import Bench, prompt_row, seeded, survives_a_kill

from solon.config.recipe import ResponseSettings, SamplingParams
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.runs.outcome import Outcome
from solon.runs.rows import PromptRow
from solon.stages import s02_responses
from solon.stages.s02_responses import ResponseInputs

MULTI = "\n\nHuman: a: b\n\nc\n\nAssistant: d\n\nHuman: e"


def given_prompts(bench: Bench):
    rows = [
        *(prompt_row(f"harm {i}") for i in range(7)),
        prompt_row(MULTI),
        *(prompt_row(f"help {i}", "helpful") for i in range(3)),
        prompt_row("held out", "held_out_harmful"),
        {**prompt_row("bad"), "outcome": "malformed"},
    ]
    return bench.artefact("prompts", rows, PromptRow)


def work(bench: Bench, engine: ScriptedEngine, settings: ResponseSettings | None = None):
    given = bench.run.finished("prompts") or given_prompts(bench)
    inputs = ResponseInputs(7, given, chunk=4)
    return s02_responses.run(settings or ResponseSettings(helpful_samples=2), inputs, engine, bench.out("responses", 2))


def test_one_reply_per_red_team_prompt_and_several_per_helpful_one(tmp_path):
    engine = ScriptedEngine(seeded)
    rows = work(Bench(tmp_path), engine).table().to_pylist()
    assert len(rows) == 8 + 3 * 2
    samples = {}
    for row in rows:
        samples.setdefault((row["kind"], row["row_id"]), []).append(row["sample"])
    assert sorted(map(tuple, samples.values())) == [(0,)] * 8 + [(0, 1)] * 3
    assert len({row["seed"] for row in rows}) == len(rows)
    assert all(str(row["seed"] % 1000003) in row["completion"][0]["content"] for row in rows)
    assert {row["outcome"] for row in rows} == {"ok"}


def test_all_turns_of_a_dialogue_are_asked(tmp_path):
    engine = ScriptedEngine(seeded)
    rows = work(Bench(tmp_path), engine).table().to_pylist()
    assert ["a: b\n\nc", "d", "e"] in [[turn.content for turn in prompt.turns] for prompt in engine.prompts]
    assert [turn["role"] for turn in next(row for row in rows if len(row["prompt"]) == 3)["prompt"]] == [
        "user",
        "assistant",
        "user",
    ]


def test_a_reply_depends_on_its_row_and_not_on_the_others(tmp_path):
    rows = {row["seed"]: row for row in work(Bench(tmp_path / "a"), ScriptedEngine(seeded)).table().to_pylist()}
    bench = Bench(tmp_path / "b")
    alone = (
        s02_responses.run(
            ResponseSettings(),
            ResponseInputs(7, bench.prompts("harm 3"), chunk=1),
            ScriptedEngine(seeded),
            bench.out("r", 2),
        )
        .table()
        .to_pylist()
    )
    assert [rows[row["seed"]] for row in alone] == alone


def test_what_went_wrong_is_kept_and_counted(tmp_path):
    answers = {
        "harm 0": "",
        "harm 1": Completion("", Finish.ERROR),
        "harm 2": "word " * 99,
        "harm 3": "Fine.\nHuman: And now?",
    }
    settings = ResponseSettings(sampling=SamplingParams(max_tokens=20), helpful_samples=0)
    engine = ScriptedEngine(lambda prompt, seed: answers.get(prompt.turns[-1].content, "Fine.\n\nHuman: next"))
    artefact = work(Bench(tmp_path), engine, settings)
    by_text = {row["prompt"][-1]["content"]: row for row in artefact.table().to_pylist()}
    outcomes = {text: Outcome(row["outcome"]) for text, row in by_text.items() if text in answers}
    assert outcomes == {
        "harm 0": Outcome.EMPTY,
        "harm 1": Outcome.PROVIDER_ERROR,
        "harm 2": Outcome.TRUNCATED,
        "harm 3": Outcome.MALFORMED,
    }
    assert artefact.manifest.outcomes == {"ok": 4, "empty": 1, "truncated": 1, "malformed": 1, "provider_error": 1}
    assert artefact.facts["defects"] == {"other_speaker": 1}
    assert (by_text["harm 4"]["completion"][0]["content"], by_text["harm 4"]["finish"]) == ("Fine.", "stop")


def test_a_prompt_that_leaves_no_room_is_not_asked(tmp_path):
    bench = Bench(tmp_path)
    given = bench.prompts("short", "long " * 30)
    engine = ScriptedEngine(seeded, window=30)
    settings = ResponseSettings(sampling=SamplingParams(max_tokens=10))
    rows = s02_responses.run(settings, ResponseInputs(0, given), engine, bench.out("responses", 2)).table().to_pylist()
    assert [row["outcome"] for row in rows] == ["ok", "truncated"]
    assert len(engine.prompts) == 1


def test_a_killed_stage_resumes_to_the_same_bytes(tmp_path):
    survives_a_kill(tmp_path, work, seeded)
