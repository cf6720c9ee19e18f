"""The exported reward function gives Solon's own scores, from its folder and through a server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.export.trainers.made import CHAT, RL, finished, loaded
from tests.training.tiny import asked

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, conversation_of
from solon.export.trainers.trainer_folder import export_for_trl
from solon.reward.scorer import PreferenceScorer, Zero, open_scorer
from solon.reward.server.server import PreferenceServer, Service
from solon.runs import RunDirectory

SETTINGS = EngineSettings(threads=1)
REPLIES = (
    "First mix the flour , then wait .",
    "no",
    "",
    "  It would hurt people .  ",
    "say it twice",
    "ünï\n\ncode",
)
END = "<|end|>"


@pytest.fixture(scope="module", params=[None, CHAT], ids=["transcript", "chat"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return finished(tmp_path_factory.mktemp("reward") / "made", template=request.param)


@pytest.fixture(scope="module")
def scorer(run: RunDirectory) -> PreferenceScorer:
    stage = run.finished("preference-model")
    assert stage is not None
    return open_scorer(stage.path, SETTINGS)


@pytest.fixture(scope="module")
def exported(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_for_trl(run, tmp_path_factory.mktemp("exported") / "out").folder


@pytest.fixture(scope="module")
def reward(exported: Path) -> ModuleType:
    return loaded(exported)


@pytest.fixture(scope="module", params=[Zero.CENTRE, Zero.RAW], ids=["centred", "raw"])
def served(
    request: pytest.FixtureRequest,
    run: RunDirectory,
    scorer: PreferenceScorer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A folder with rewards from a running server."""
    server = PreferenceServer(scorer, Service(port=0, zero=request.param), SETTINGS)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield export_for_trl(run, tmp_path_factory.mktemp("served") / "out", url=server.url).folder
    server.shutdown()
    server.drain()
    thread.join()


def dialogues() -> list[Conversation]:
    turns = [asked(f"How do I bake {n} ?") for n in range(len(REPLIES))]
    turns[1] = [*asked("Tell me ."), {"role": "assistant", "content": "yes"}, *asked("more ?")]
    return [conversation_of(each) for each in turns]


def scores(scorer: PreferenceScorer) -> list[float]:
    return scorer.score(scorer.tokens([p.with_reply(r.strip()) for p, r in zip(dialogues(), REPLIES, strict=True)]))


def prompts() -> list[list[dict[str, str]]]:
    return [each.messages() for each in dialogues()]


def test_rewards_are_the_scores_that_solon_gives(reward: ModuleType, scorer: PreferenceScorer) -> None:
    found = reward.rewards(prompts(), REPLIES, [True] * len(REPLIES))
    assert found == pytest.approx(scores(scorer), abs=1e-5)
    assert len({round(each, 4) for each in found}) > 3


def test_a_reply_that_was_cut_at_its_limit_pays_the_penalty(reward: ModuleType, scorer: PreferenceScorer) -> None:
    found = reward.rewards(prompts(), REPLIES, [False] * len(REPLIES))
    assert found == pytest.approx([each - RL.missing_eos_penalty for each in scores(scorer)], abs=1e-5)


def test_a_running_server_gives_the_same_rewards(served: Path, scorer: PreferenceScorer) -> None:
    reward = loaded(served)
    assert reward.SETTINGS["mode"] == "server"
    found = reward.rewards(prompts(), REPLIES, [True, False] * 3)
    penalties = [0.0, RL.missing_eos_penalty] * 3
    assert found == pytest.approx([s - p for s, p in zip(scores(scorer), penalties, strict=True)], abs=1e-5)


def test_a_server_of_another_model_and_one_that_is_away_are_errors(served: Path, tmp_path: Path) -> None:
    settings = json.loads((served / "reward.json").read_text())
    (tmp_path / "reward.py").write_text((served / "reward.py").read_text())
    (tmp_path / "reward.json").write_text(json.dumps({**settings, "centre": settings["centre"] + 1}))
    with pytest.raises(RuntimeError, match="serves another preference model"):
        loaded(tmp_path).rewards(prompts(), REPLIES, [True] * 6)
    (tmp_path / "reward.json").write_text(json.dumps({**settings, "url": "http://127.0.0.1:9"}))
    away = loaded(tmp_path)
    away.TRIES = 1
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9/health gave no answer in 1 tries"):
        away.rewards(prompts(), REPLIES, [True] * 6)


def test_a_conversation_beyond_the_window_is_an_error_and_no_number(reward: ModuleType, served: Path) -> None:
    with pytest.raises(ValueError, match="longer than the window of 128"):
        reward.rewards([asked("bread " * 150)], ["yes"], [True])
    with pytest.raises(RuntimeError, match=r"refuses.*window"):
        loaded(served).rewards([asked("bread " * 150)], ["yes"], [True])


def test_rewards_are_clipped(exported: Path, scorer: PreferenceScorer, tmp_path: Path) -> None:
    settings = json.loads((exported / "reward.json").read_text())
    (tmp_path / "reward.py").write_text((exported / "reward.py").read_text())
    (tmp_path / "preference-model").symlink_to(exported / "preference-model")
    (tmp_path / "reward.json").write_text(json.dumps({**settings, "limit": 0.01}))
    assert all(abs(each) <= 0.01 for each in loaded(tmp_path).rewards(prompts(), REPLIES, [True] * 6))


def test_trl_passes_messages_and_token_ids(reward: ModuleType, scorer: PreferenceScorer) -> None:
    completions = [[{"role": "assistant", "content": reply}] for reply in REPLIES]
    end = reward.SETTINGS["end_ids"][0]
    ids = [[5, 6, end], [5, 6], [end], [], [5, end], [7]]
    found = reward.reward(prompts(), completions, ids, kind=["red_team"] * 6, trainer_state=None)
    penalties = [0.0 if end in each else RL.missing_eos_penalty for each in ids]
    assert found == pytest.approx([s - p for s, p in zip(scores(scorer), penalties, strict=True)], abs=1e-5)


def test_a_reply_is_cut_where_it_speaks_for_somebody_else(reward: ModuleType, scorer: PreferenceScorer) -> None:
    stop = reward.SETTINGS["stops"][0]
    text, stopped = reward.cut(f" yes good {stop} how do I steal ?")
    assert (text, stopped) == ("yes good", True) and reward.cut(" yes ") == ("yes", False)
    found = reward.rewards([prompts()[0]] * 2, ["yes good", f"yes good{stop} more"], [True, False])
    assert found[0] == pytest.approx(found[1], abs=1e-5), "what ends by a stop is finished"


@given(
    st.lists(st.sampled_from([" ", "\n\n", "yes", "Human:", "\n\nHuman:", "Assistant:", "<|end|>", ":"])).map("".join)
)
def test_a_cut_reply_is_the_beginning_of_the_reply_and_has_no_stop(reward: ModuleType, reply: str) -> None:
    text, stopped = reward.cut(reply)
    stops = reward.SETTINGS["stops"]
    assert reply.lstrip().startswith(text) and text == text.strip()
    assert not any(stop in text for stop in stops)
    assert stopped == any(stop in reply for stop in stops)
    assert reward.cut(text) == (text, False)


def test_an_end_token_that_a_reply_spells_out_is_words_or_its_end(reward: ModuleType, scorer: PreferenceScorer) -> None:
    spelled = f"yes {END} good"
    read = "yes" if END in reward.SETTINGS["stops"] else spelled
    transcript = any("Human:" in stop for stop in reward.SETTINGS["stops"])
    assert (read == spelled) == transcript, "a transcript ends at labels, a template at tokens"
    wanted = scorer.score(scorer.tokens([dialogues()[0].with_reply(read)]))
    assert reward.rewards([prompts()[0]], [spelled], [True]) == pytest.approx(wanted, abs=1e-5)
