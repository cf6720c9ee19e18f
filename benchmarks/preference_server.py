"""Calls per second of the preference model's server: micro-batches against one request at a time.

    python benchmarks/preference_server.py FOLDER [--calls 512] [--concurrent 64] [--words 60]

FOLDER is what `solon preference` wrote. Every call asks for one text, as OpenRLHF's workers do.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from solon.config.recipe import EngineSettings
from solon.conversation import Conversation, Role, Turn
from solon.reward.scorer import open_scorer
from solon.reward.server.batching import Limits
from solon.reward.server.server import PreferenceServer, Service

WAYS = {"micro-batches": Limits(), "one at a time": Limits(wait=0, jobs=1)}


def main() -> None:
    """Measure both ways in turn, three times, and print the best of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calls", type=int, default=512)
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--words", type=int, default=60)
    given = parser.parse_args()
    settings = EngineSettings()
    scorer = open_scorer(given.folder, settings)
    texts = [
        scorer.texts.text(
            Conversation((Turn(Role.HUMAN, f"How {n} ?"), Turn(Role.ASSISTANT, "bread " * (given.words + n % 16))))
        )
        for n in range(given.calls)
    ]
    best = dict.fromkeys(WAYS, 0.0)
    for _ in range(3):
        for way, limits in WAYS.items():
            server = PreferenceServer(scorer, Service(port=0), settings, limits)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            best[way] = max(best[way], calls_per_second(server, texts, given.concurrent))
            server.shutdown()
            server.drain()
    for way, speed in best.items():
        print(f"{way}: {speed:.0f} calls/s at {given.concurrent} concurrent")


def calls_per_second(server: PreferenceServer, texts: list[str], concurrent: int) -> float:
    """Calls over the wall-clock time of all of them."""
    host, port = server.server_address[:2]

    def call(text: str) -> None:
        connection = http.client.HTTPConnection(str(host), int(port), timeout=600)
        connection.request("POST", "/get_reward", json.dumps({"query": [text]}))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        connection.close()

    since = time.perf_counter()
    with ThreadPoolExecutor(concurrent) as pool:
        list(pool.map(call, texts))
    return len(texts) / (time.perf_counter() - since)


if __name__ == "__main__":
    main()
