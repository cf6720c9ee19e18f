"""The Python files of docs/trainers.md, run with an exported folder and a running reward server.

verl's reward manager is left out: it imports verl, which the tests do not install.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.export.trainers.made import CHAT, RL, finished, loaded, without_solon

from solon.config.recipe import EngineSettings
from solon.conversation import conversation_of
from solon.export.trainers.trainer_folder import export_for_trl
from solon.reward.scorer import PreferenceScorer, open_scorer
from solon.reward.server.server import PreferenceServer, Service

PAGE = Path(__file__).parents[3] / "docs" / "trainers.md"
REPLY, END = "First mix the flour , then wait .", "<|end|>"


@pytest.fixture(scope="module", params=[None, CHAT], ids=["transcript", "chat"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, PreferenceScorer]]:
    """An exported folder with the page's files in it, and the scorer that the server asks."""
    run = finished(tmp_path_factory.mktemp("page") / "made", template=request.param)
    stage = run.finished("preference-model")
    assert stage is not None
    settings = EngineSettings(threads=1)
    scorer = open_scorer(stage.path, settings)
    server = PreferenceServer(scorer, Service(port=0), settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    folder = export_for_trl(run, tmp_path_factory.mktemp("served") / "rl", url=server.url).folder
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        name = re.match(r"# rl/(\w+\.py)\n", code)
        assert name is not None, "each file of the page begins with its name"
        (folder / name[1]).write_text(code)
    done = without_solon(folder, sys.executable, "convert_prompts.py")
    assert done.returncode == 0, done.stderr
    yield folder, scorer
    server.shutdown()
    server.drain()
    thread.join()


@pytest.fixture(autouse=True)
def own_reward_module() -> Iterator[None]:
    """The page's files import `reward` by name from their own folder."""
    path = list(sys.path)
    yield
    sys.modules.pop("reward", None)
    sys.path[:] = path


def reward_of(scorer: PreferenceScorer, messages: list[dict[str, str]], finished: bool) -> float:
    score = scorer.score(scorer.tokens([conversation_of(messages).with_reply(REPLY)]))[0]
    return score if finished else score - RL.missing_eos_penalty


def test_prompts_are_converted_for_both_trainers(served: tuple[Path, PreferenceScorer]) -> None:
    folder = served[0] / "prompts"
    for name in ("train", "held-out"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        openrlhf = [json.loads(line) for line in (folder / f"openrlhf-{name}.jsonl").read_text().splitlines()]
        verl = pq.read_table(folder / f"verl-{name}.parquet").to_pylist()
        assert len(rows) == len(openrlhf) == len(verl) == 8
        for row, one, other in zip(rows, openrlhf, verl, strict=True):
            assert one["input"] == json.loads(one["label"]) == row["prompt"]
            assert other["prompt"] == json.loads(other["extra_info"]["prompt"]) == row["prompt"]
            assert other["data_source"] == f"solon/{row['kind']}" and other["reward_model"]["ground_truth"] == ""


@pytest.mark.parametrize("ended", [True, False])
def test_openrlhfs_reward_function_reads_whole_texts(served: tuple[Path, PreferenceScorer], ended: bool) -> None:
    folder, scorer = served
    module = loaded(folder, "reward_openrlhf.py")
    line = json.loads((folder / "prompts" / "openrlhf-train.jsonl").read_text().splitlines()[0])
    prompt = module.TOKENIZER.apply_chat_template(line["input"], add_generation_prompt=True, tokenize=False)
    query = prompt + (" " if prompt.endswith("Assistant:") else "") + REPLY + (END if ended else "")
    found = module.reward_func([query], [prompt], [line["label"]])
    assert found["rewards"].tolist() == found["scores"].tolist()
    assert found["rewards"].tolist() == pytest.approx([reward_of(scorer, line["input"], ended)], abs=1e-5)
    assert found["extra_logs"]["unfinished"].tolist() == [float(not ended)]
    with pytest.raises(ValueError, match="does not begin with its prompt"):
        module.reward_func(["another text"], [prompt], [line["label"]])


@pytest.mark.parametrize("ended", [True, False])
def test_verls_reward_function_reads_decoded_replies(served: tuple[Path, PreferenceScorer], ended: bool) -> None:
    folder, scorer = served
    row = pq.read_table(folder / "prompts" / "verl-train.parquet").to_pylist()[0]
    information = {**row["extra_info"], "finished": ended}
    found = loaded(folder, "reward_verl.py").compute_score(row["data_source"], REPLY, "", information, router=None)
    assert found["score"] == pytest.approx(reward_of(scorer, row["prompt"], ended), abs=1e-5)
    assert found["unfinished"] == float(not ended)
