"""Episodes per second of PPO and RLOO against TRL's: PPO of 1.12, the last that had one, and the present RLOO.

A Llama of the testbed's size with random weights (so that hardly any reply ends early) answers 64 prompts of 24 tokens
with 64 tokens a step; a classifier of the same size scores them. All systems make as many episodes and as many updates
(one minibatch a pass). They take turns in child processes; the first step of each warms up and is not counted.
Run: python benchmarks/ppo.py --trl-ppo VENV/bin/python [--rounds 3] [--epochs 1 4] [--threads 2]
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

EPISODES, PROMPT_TOKENS, NEW_TOKENS, STEPS = 64, 24, 64, 5
PEERS = Path(__file__).parent / "peers"


def main() -> None:
    """Print the median of each system, and how much faster Solon is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-ppo", help="the Python of the environment that holds TRL 1.12")
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
        folder = Path(name)
        pad = write_models(folder)
        ours = {name: [sys.executable, __file__, "--algorithm", name.lower(), "--child"] for name in ("PPO", "RLOO")}
        contestants = {"Solon PPO": ours["PPO"]}
        if given.trl_ppo:
            contestants["TRL 1.12 PPO"] = [given.trl_ppo, str(PEERS / "trl_ppo.py")]
        contestants["Solon RLOO"] = ours["RLOO"]
        contestants["TRL RLOO"] = [sys.executable, str(PEERS / "trl_rloo.py")]
        for epochs in given.epochs:
            sizes = {"episodes": EPISODES, "new_tokens": NEW_TOKENS, "steps": STEPS, "epochs": epochs, "pad": pad}
            sizes["threads"] = given.threads
            compare(contestants, folder, sizes, given.rounds)


def compare(contestants: dict[str, list[str]], folder: Path, sizes: dict[str, int], rounds: int) -> None:
    """Let the systems take turns and print what they did."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    peaks: dict[str, int] = {}
    for _, (name, command) in itertools.product(range(rounds), contestants.items()):
        told = run([*command, str(folder), json.dumps(sizes)], sizes["threads"])
        seconds = [after - before for before, after in itertools.pairwise(told["ends"])]
        rates[name] += [sizes["episodes"] / each for each in seconds]
        peaks[name] = max(peaks.get(name, 0), told["peak_mb"])
    print(
        f"{sizes['epochs']} pass(es) over a rollout, {sizes['threads']} thread(s), {rounds} rounds of {STEPS - 1} steps"
    )
    for name, found in rates.items():
        median = statistics.median(found)
        spread = f"{min(found):.1f} to {max(found):.1f}"
        ours = statistics.median(rates[f"Solon {name.split()[-1]}"])
        print(f"  {name:14s} {median:6.1f} episodes/s ({spread}), peak {peaks[name]} MB; Solon {ours / median:.2f}x")


def run(command: list[str], threads: int) -> dict[str, object]:
    """What a child printed last."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stderr[-3000:]}")
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


def write_models(folder: Path) -> int:
    """Policy, preference model and prompts, for all systems alike; returns the padding token's id."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from solon.builtin import model_path
    from solon.conversation import Conversation, Role, Turn, transcript
    from solon.recipe import EngineSettings
    from solon.training.models import ensure_pad, grow_preference_model, load_tokenizer, save_model

    tokenizer = load_tokenizer(model_path("testbed:pretrained"))
    config = LlamaConfig.from_pretrained(model_path("testbed:pretrained"))
    torch.manual_seed(0)
    save_model(LlamaForCausalLM(config), tokenizer, folder / "policy")
    pad = ensure_pad(tokenizer)
    save_model(grow_preference_model(folder / "policy", tokenizer, EngineSettings(), 1), tokenizer, folder / "reward")
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
    texts = list(dict.fromkeys(texts))
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    (folder / "prompts.json").write_text(json.dumps({"texts": texts, "token_ids": ids}))
    return pad


def by_solon(folder: Path, sizes: dict[str, int], algorithm: str) -> None:
    """The stage rl-cai as a run does it; prints when each step ended, as JSON."""
    import torch

    from solon.builtin import constitution_path
    from solon.conversation import parse_transcript
    from solon.recipe import Algorithm, Drawing, EngineSettings, Recipe, ReinforcementSettings, RenderingKind
    from solon.runs import Progress, RunDirectory
    from solon.stages import prompts, reinforcement
    from solon.stages.reinforcement import ReinforcementInputs

    torch.set_num_threads(sizes["threads"])
    texts = json.loads((folder / "prompts.json").read_text())["texts"]
    conversations = [parse_transcript(text) for text in texts]
    rows = [
        dict.fromkeys(prompts.SCHEMA.names)
        | {"row_id": each.row_id, "kind": "red_team", "prompt": each.messages(), "outcome": "ok"}
        for each in conversations
    ]
    settings = ReinforcementSettings(
        algorithm=Algorithm(algorithm),
        steps=sizes["steps"],
        # RLOO compares replies to one prompt, two as for its peer; both make as many episodes.
        samples_per_prompt=2 if algorithm == "rloo" else 1,
        prompts_per_step=sizes["episodes"] // (2 if algorithm == "rloo" else 1),
        red_team_share=1.0,
        drawing=Drawing(max_tokens=sizes["new_tokens"]),
        epochs=sizes["epochs"],
        minibatches=1,
        learning_rate=1e-5,
        value_learning_rate=1e-5,
        value_warmup=0,
        checkpoint_every=1000,
    )
    engine = EngineSettings(rendering=RenderingKind.TRANSCRIPT, window=512, batch=sizes["episodes"])
    ends: list[float] = []

    def note(progress: Progress) -> None:
        if progress.done > len(ends):
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as name:
        run = RunDirectory.create(Path(name) / "run", Recipe(), constitution_path("testbed"))
        asked = run.begin(1, "prompts", {}).publish(rows, prompts.SCHEMA)
        inputs = ReinforcementInputs(0, folder / "policy", folder / "reward", engine, asked)
        reinforcement.run(settings, inputs, run.begin(8, "rl-cai", {}, note))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"ends": ends[: sizes["steps"]], "peak_mb": peak}))


if __name__ == "__main__":
    main()
