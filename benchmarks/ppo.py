"""Episodes per second of PPO and RLOO against TRL's: PPO of TRL 1.12, the last with PPO, and RLOO of the present one.

A Llama of the testbed's size answers 64 prompts a step; a classifier of the same size scores them. With `--replies
full` its weights are random, so that hardly any reply ends early: all are of 64 tokens, to prompts of 24. With
`--replies own` it is the testbed's assistant on the testbed's prompts of up to 24 tokens, and replies end, within 64
tokens, where it ends them. All systems have the same number of episodes and updates (one minibatch a pass). They run in
turn in child processes; the first step of each warms up and is not counted.
Run: python benchmarks/ppo.py --trl-ppo VENV/bin/python [--replies full own] [--rounds 3] [--epochs 1 4] [--threads 2]
where VENV holds torch==2.13.0, trl==1.12.0 and transformers==5.23.0; without it only RLOO is the peer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EPISODES, PROMPT_TOKENS, NEW_TOKENS, STEPS = 64, 24, 64, 5
PEERS = Path(__file__).parent / "peers"


def main() -> None:
    """Print the median of each system, and how much faster Solon is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-ppo", help="the Python of the environment that holds TRL 1.12")
    parser.add_argument("--replies", choices=["full", "own"], nargs="+", default=["full", "own"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--algorithm", default="ppo", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "SIZES"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        by_solon(Path(given.child[0]), json.loads(given.child[1]), given.algorithm)
        return
    with tempfile.TemporaryDirectory() as name:
        folders = {replies: Path(name) / replies for replies in given.replies}
        pads = {replies: write_models(folder, replies) for replies, folder in folders.items()}
        ours = {name: [sys.executable, __file__, "--algorithm", name.lower(), "--child"] for name in ("PPO", "RLOO")}
        contestants = {"Solon PPO": ours["PPO"]}
        if given.trl_ppo:
            contestants["TRL 1.12 PPO"] = [given.trl_ppo, str(PEERS / "trl_ppo.py")]
        contestants["Solon RLOO"] = ours["RLOO"]
        contestants["TRL RLOO"] = [sys.executable, str(PEERS / "trl_rloo.py")]
        for replies, epochs in itertools.product(given.replies, given.epochs):
            sizes = {"episodes": EPISODES, "new_tokens": NEW_TOKENS, "steps": STEPS, "epochs": epochs}
            sizes |= {"pad": pads[replies], "threads": given.threads}
            print(f"Replies: {replies}")
            compare(contestants, folders[replies], sizes, given.rounds)


def compare(contestants: dict[str, list[str]], folder: Path, sizes: dict[str, int], rounds: int) -> None:
    """Run the systems in turn and print their rates."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    peaks: dict[str, int] = {}
    for _, (name, command) in itertools.product(range(rounds), contestants.items()):
        result = run([*command, str(folder), json.dumps(sizes)], sizes["threads"])
        seconds = [after - before for before, after in itertools.pairwise(result["ends"])]
        rates[name] += [sizes["episodes"] / each for each in seconds]
        peaks[name] = max(peaks.get(name, 0), result["peak_mb"])
    print(
        f"{sizes['epochs']} pass(es) over a rollout, {sizes['threads']} thread(s), {rounds} rounds of {STEPS - 1} steps"
    )
    for name, found in rates.items():
        median = statistics.median(found)
        spread = f"{min(found):.1f} to {max(found):.1f}"
        ours = statistics.median(rates[f"Solon {name.split()[-1]}"])
        print(f"  {name:14s} {median:6.1f} episodes/s ({spread}), peak {peaks[name]} MB; Solon {ours / median:.2f}x")


def run(command: list[str], threads: int) -> dict[str, Any]:
    """The JSON object that a child process prints last."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_models(folder: Path, replies: str) -> int:
    """Write policy, preference model and prompts, the same for all systems; returns the padding token's id."""
    import torch
    from transformers import LlamaForCausalLM

    from solon.config.builtin import model_path
    from solon.config.recipe import EngineSettings
    from solon.engines.tokens import PromptTokenizer
    from solon.model_folders.load import load_config
    from solon.training.models import ensure_pad, grow_preference_model, load_causal_lm, load_tokenizer, save_model

    bundled = model_path("testbed:assistant" if replies == "own" else "testbed:pretrained")
    tokenizer = load_tokenizer(bundled)
    torch.manual_seed(0)
    own = replies == "own"
    policy = load_causal_lm(bundled, EngineSettings()) if own else LlamaForCausalLM(load_config(bundled))
    encoder = PromptTokenizer.of(tokenizer, EngineSettings())
    save_model(policy, encoder, folder / "policy")
    pad = ensure_pad(tokenizer)
    save_model(grow_preference_model(folder / "policy", tokenizer, EngineSettings(), 1), encoder, folder / "reward")
    texts = testbed_prompts() if replies == "own" else random_prompts(tokenizer)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    kept = [(text, tokens) for text, tokens in zip(texts, ids, strict=True) if len(tokens) <= PROMPT_TOKENS]
    (folder / "prompts.json").write_text(
        json.dumps({"texts": [text for text, _ in kept], "token_ids": [tokens for _, tokens in kept]})
    )
    return pad


def testbed_prompts() -> list[str]:
    """Red-team and helpfulness prompts of the testbed as transcripts, in a random order."""
    from solon.config.builtin import source_path
    from solon.conversation import transcript
    from solon.sources.prompt_files import read_prompts

    found = [
        transcript(each.conversation.turns) + "\n\nAssistant:"
        for name in ("testbed:red-team", "testbed:helpful")
        for each in read_prompts(source_path(name)).prompts
    ]
    random.Random(0).shuffle(found)
    return found


def random_prompts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Transcripts of exactly `PROMPT_TOKENS` tokens, of words drawn at random."""
    from solon.conversation import Conversation, Role, Turn, transcript

    words = [word for word in tokenizer.get_vocab() if word.strip("Ġ▁ ").isalpha() and len(word) > 3]
    words = sorted({word.strip("Ġ▁ ").lower() for word in words})
    chance = random.Random(0)
    texts: list[str] = []
    while len(texts) < EPISODES * 4:
        human = " ".join(chance.choices(words, k=PROMPT_TOKENS))
        while human:
            text = transcript(Conversation((Turn(Role.HUMAN, human),)).turns) + "\n\nAssistant:"
            if len(tokenizer.encode(text, add_special_tokens=False)) == PROMPT_TOKENS:
                texts.append(text)
            human = human.rpartition(" ")[0]
    return list(dict.fromkeys(texts))


def by_solon(folder: Path, sizes: dict[str, int], algorithm: str) -> None:
    """Run the stage rl-cai; prints the end times of the steps as JSON."""
    import torch

    from solon.config.builtin import constitution_path
    from solon.config.recipe import (
        Algorithm,
        EngineSettings,
        Recipe,
        ReinforcementSettings,
        RenderingKind,
        SamplingParams,
    )
    from solon.conversation import parse_transcript
    from solon.runs import Progress, RunDirectory
    from solon.runs.outcome import Outcome
    from solon.runs.rows import PromptKind, PromptRow
    from solon.stages import s08_rl_cai
    from solon.stages.s08_rl_cai import ReinforcementInputs

    torch.set_num_threads(sizes["threads"])
    texts = json.loads((folder / "prompts.json").read_text())["texts"]
    conversations = [parse_transcript(text) for text in texts]
    rows = [
        PromptRow(row_id=each.row_id, kind=PromptKind.RED_TEAM, prompt=each, source="benchmark", outcome=Outcome.OK)
        for each in conversations
    ]
    settings = ReinforcementSettings(
        algorithm=Algorithm(algorithm),
        steps=sizes["steps"],
        # RLOO compares two replies to one prompt, like its peer; the number of episodes is the same.
        samples_per_prompt=2 if algorithm == "rloo" else 1,
        prompts_per_step=sizes["episodes"] // (2 if algorithm == "rloo" else 1),
        red_team_share=1.0,
        sampling=SamplingParams(max_tokens=sizes["new_tokens"]),
        epochs=sizes["epochs"],
        minibatches=1,
        learning_rate=1e-5,
        value_learning_rate=1e-5,
        value_warmup_steps=0,
        checkpoint_every=1000,
    )
    engine = EngineSettings(rendering=RenderingKind.TRANSCRIPT, window=512, batch_size=sizes["episodes"])
    ends: list[float] = []

    def note(progress: Progress) -> None:
        if progress.done > len(ends):
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as name:
        run = RunDirectory.create(Path(name) / "run", Recipe(), constitution_path("testbed"))
        prompts = run.begin(1, "prompts", {}).publish(rows, PromptRow)
        inputs = ReinforcementInputs(0, folder / "policy", folder / "reward", engine, prompts)
        s08_rl_cai.run(settings, inputs, run.begin(8, "rl-cai", {}, note))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"ends": ends[: sizes["steps"]], "peak_mb": peak}))


if __name__ == "__main__":
    main()
