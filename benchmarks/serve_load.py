"""Times what users wait for when many of them ask one encoded study of a server at once.

    python -m benchmarks.serve_load [--clients 20] [--questions 5] [--write]

The server is a process of its own, as ``tips-med serve`` starts it, with the shipped weights and the bundled scan.
Every client asks different questions one after the other, without a pause: report and mask. The answers are compared
with those that one client got alone. ``--write`` keeps the figures in docs/measurements/serve_load.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tips_med.sample import sample_path

DOCS = Path(__file__).resolve().parents[1] / "docs"
FINDINGS = ("mass", "nodule", "ground-glass opacity", "consolidation", "pleural effusion", "emphysema")
PLACES = ("", "left lung", "right lung", "left upper lobe", "right lower lobe")


def questions() -> list[str]:
    return [f"{finding} {place}".strip() for place in PLACES for finding in FINDINGS]


class User:
    """A client that notes how long it waited."""

    def __init__(self, url: str, token: str, study: str) -> None:
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=300, trust_env=False
        )
        self.study = study
        self.waited_s: list[float] = []
        self.mask_s: list[float] = []
        self.answers: dict[str, Any] = {}

    def ask(self, texts: list[str]) -> User:
        """Asks for each text, and gets the mask."""
        for text in texts:
            begun = time.perf_counter()
            given = self.http.post(f"/v1/studies/{self.study}/answers", json={"query": text})
            answered = time.perf_counter()
            if given.status_code == 422:
                continue  # the model does not know it
            given.raise_for_status()
            (entry,) = given.json()["answers"]
            self.http.get(entry["urls"]["mask"]).raise_for_status()
            self.waited_s.append(answered - begun)
            self.mask_s.append(time.perf_counter() - answered)
            self.answers[text] = entry
        return self


def start(folder: Path) -> tuple[subprocess.Popen[str], str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tips_med.cli", "serve", "--folder", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    token = re.fullmatch(r"Token: (\S+)\n", process.stdout.readline())
    url = re.match(r"Serving on (\S+)", process.stdout.readline())
    assert token and url
    for _ in range(300):
        try:
            httpx.get(url[1] + "/healthz", trust_env=False)
            return process, url[1], token[1]
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start")


def measure(clients: int, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        process, url, token = start(Path(folder))
        try:
            first = User(url, token, "")
            begun = time.perf_counter()
            study = first.http.post("/v1/studies", files={"file": sample_path().read_bytes()}).json()["id"]
            while (state := first.http.get(f"/v1/studies/{study}").json()["state"]) != "ready":
                if state not in ("queued", "reading", "encoding"):
                    raise RuntimeError(f"the study is {state}")
                time.sleep(0.05)
            encoded_s = time.perf_counter() - begun
            texts = questions()
            alone = User(url, token, study).ask(texts)
            known = list(alone.answers)
            # The server keeps the last few answers of a study only, so that most of these are made anew.
            users = [User(url, token, study) for _ in range(clients)]
            shares = [[known[(n * count + k) % len(known)] for k in range(count)] for n in range(clients)]
            with ThreadPoolExecutor(clients) as many:
                begun = time.perf_counter()
                list(many.map(lambda pair: pair[0].ask(pair[1]), zip(users, shares)))
                took_s = time.perf_counter() - begun
        finally:
            process.terminate()
            process.wait(30)
    waited = np.array([one for user in users for one in user.waited_s])
    masks = np.array([one for user in users for one in user.mask_s])
    same = all(user.answers[text] == alone.answers[text] for user in users for text in user.answers)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "clients": clients,
        "questions": len(waited),
        "upload_to_ready_s": round(encoded_s, 2),
        "alone_p50_s": round(float(np.median(alone.waited_s)), 3),
        "together_p50_s": round(float(np.median(waited)), 3),
        "together_p95_s": round(float(np.quantile(waited, 0.95)), 3),
        "mask_p95_s": round(float(np.quantile(masks, 0.95)), 3),
        "answers_a_second": round(len(waited) / took_s, 1),
        "same_answers_as_alone": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--questions", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    found = measure(chosen.clients, chosen.questions)
    print(json.dumps(found, indent=1))
    if chosen.write:
        (DOCS / "measurements" / "serve_load.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
