from tests.stages.workbench import Bench, seeded, survives_a_kill

from solon.config.recipe import PairSettings
from solon.engines.base import Completion, Finish
from solon.engines.scripted import ScriptedEngine
from solon.stages import s05_response_pairs
from solon.stages.s05_response_pairs import PairInputs


def work(bench: Bench, engine: ScriptedEngine, per_prompt: int = 1):
    given = bench.run.finished("prompts") or bench.prompts(*(f"harm {i}" for i in range(9)), name="prompts")
    settings, inputs = PairSettings(per_prompt=per_prompt), PairInputs(3, given, chunk=2)
    return s05_response_pairs.run(settings, inputs, engine, bench.out("response-pairs", 5))


def test_two_replies_with_two_seeds_to_each_prompt(tmp_path):
    rows = work(Bench(tmp_path), ScriptedEngine(seeded)).table().to_pylist()
    assert len(rows) == 9
    assert len({row[seed] for row in rows for seed in ("seed_a", "seed_b")}) == 18
    for row in rows:
        for place in "ab":
            said = f"reply {row[f'seed_{place}'] % 1000003} to {row['prompt'][-1]['content']}"
            assert row[f"response_{place}"] == said
            assert row[f"finish_{place}"] == "end"


def test_a_second_pair_of_a_prompt_is_fresh_and_leaves_the_first_as_it_was(tmp_path):
    once = work(Bench(tmp_path / "once"), ScriptedEngine(seeded)).table().to_pylist()
    twice = work(Bench(tmp_path / "twice"), ScriptedEngine(seeded), per_prompt=2).table().to_pylist()
    assert [row for row in twice if row["pair"] == 1] == once
    assert len({row[seed] for row in twice for seed in ("seed_a", "seed_b")}) == 36


def test_a_pair_fails_with_either_reply_and_keeps_what_was_written(tmp_path):
    def answer(prompt, seed):
        if prompt.turns[-1].content == "harm 1" and seed % 2:
            return Completion("cut of", Finish.LENGTH)
        return "same" if prompt.turns[-1].content == "harm 2" else f"reply {seed % 2}"

    bench = Bench(tmp_path)
    artefact = work(bench, ScriptedEngine(answer))
    for row in artefact.table().to_pylist():
        odd = row["seed_a"] % 2 or row["seed_b"] % 2
        failed = row["prompt"][-1]["content"] == "harm 1" and odd
        assert row["outcome"] == ("truncated" if failed else "ok")
        assert row["response_a"] and row["response_b"]
    assert artefact.facts["identical"] >= 1


def test_a_killed_stage_resumes_to_the_same_bytes(tmp_path):
    survives_a_kill(tmp_path, work, seeded)
