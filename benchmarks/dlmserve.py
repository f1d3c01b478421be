"""Compares this server with dlmserve: the same weights, prompts and steps over HTTP, in turns.

    python -m benchmarks.dlmserve --python PEER/bin/python

`PEER` is a virtual environment with torch, dlmserve 0.1.1 (installed with `--no-deps`), `transformers<5`, fastapi,
uvicorn, prometheus-client and httpx. The peer's loader knows one checkpoint of 8B; so this file, run there with
`--serve`, gives it the embedded `llada` in float32 instead. Everything else is the peer's own. The program prints a
table, and writes `results/dlmserve.json`: seconds for an answer of 128 positions at temperature 0, for one client and
for eight that ask at the same moment, and whether the texts are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from benchmarks.serving import PROMPTS, free_port, server, wait_until_ready

HERE = Path(__file__).parent
FOLDER = HERE.parent / "backend" / "app" / "assets" / "models" / "llada"
NEW_TOKENS, BLOCK, AT_ONCE = 128, 32, 8
PRESETS = ("exact", "balanced", "fast")
NAME = "embedded-llada"

Ask = Callable[[str], str]
"""A function from a prompt to the text that follows it."""


def serve(port: int) -> None:
    """Runs the peer's server with the embedded weights in this process."""
    import dlmserve.engine
    import torch
    import uvicorn
    from dlmserve.models import LoadedLLaDA

    from app.engine.families.checkpoint import load_model
    from app.text.tokenizer import Tokenizer

    network, tokenizer = load_model(FOLDER, torch.device("cpu"), torch.float32), Tokenizer.load(FOLDER)
    special = network.config.special

    class Model(torch.nn.Module):
        config = SimpleNamespace(n_layers=network.config.num_layers, n_heads=network.config.num_heads)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> SimpleNamespace:
            """The logits of every position; all prompts here are equally long, so nothing is padded or masked."""
            count, length = input_ids.shape
            positions = torch.arange(length).repeat(count)
            states = network.hidden(input_ids.flatten(), positions, [length] * count)
            return SimpleNamespace(logits=network.head(states).view(count, length, -1))

    class Texts:
        pad_token_id = eos_token_id = special.eos

        def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
            return messages[-1]["content"]

        def __call__(self, texts: list[str], **_: Any) -> dict[str, torch.Tensor]:
            ids = torch.tensor([_prompt_ids(tokenizer, text) for text in texts])
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

        def batch_decode(self, rows: torch.Tensor, **_: Any) -> list[str]:
            lists = rows.tolist()
            return [tokenizer.decode(ids[: ids.index(special.eos)] if special.eos in ids else ids) for ids in lists]

    def loaded(*_: Any, **__: Any) -> LoadedLLaDA:
        device = torch.device("cpu")
        return LoadedLLaDA(model=Model(), tokenizer=Texts(), device=device, dtype="bf16", mask_id=special.mask)

    os.environ |= {"DLMSERVE_MODEL": NAME, "DLMSERVE_DEVICE": "cpu", "DLMSERVE_LOG_LEVEL": "warning"}
    dlmserve.engine.load_model = loaded
    from dlmserve.api.server import app as application

    uvicorn.run(application, port=port, log_level="warning")


def _prompt_ids(tokenizer: Any, text: str) -> list[int]:
    from app.text.prompt import continuation

    return list(continuation(tokenizer, text, bos=tokenizer.adds_bos).prefix)


@contextmanager
def peer(python: Path) -> Iterator[str]:
    """Runs the peer in a process of its own, and gives its URL."""
    port, root = free_port(), HERE.parent
    variables = {**os.environ, "PYTHONPATH": f"{root / 'backend'}:{root}"}
    command = [str(python), "-m", "benchmarks.dlmserve", "--serve", str(port)]
    process = subprocess.Popen(command, env=variables, cwd=root)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(f"{url}/ready")
        yield url
    finally:
        process.kill()  # it does not end when it is only asked to
        process.wait()


def of_peer(client: httpx.Client, url: str) -> Ask:
    def ask(prompt: str) -> str:
        body = {
            "model": NAME,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": NEW_TOKENS,
            "num_denoising_steps": NEW_TOKENS,
            "block_length": BLOCK,
            "temperature": 0,
        }
        answer = client.post(f"{url}/v1/chat/completions", json=body).raise_for_status().json()
        return str(answer["choices"][0]["message"]["content"])

    return ask


def of_ours(client: httpx.Client, url: str, preset: str) -> Ask:
    def ask(prompt: str) -> str:
        body = {
            "text": prompt,
            "model_id": "llada",
            "max_length": NEW_TOKENS,
            "temperature": 0,
            "top_p": 1.0,
            "repetition_penalty": 1.0,
            "decoding": preset,
        }
        return str(client.post(f"{url}/api/diffusion/generate", json=body).raise_for_status().json()["generated_text"])

    return ask


def answers(ask: Ask, prompts: Sequence[str]) -> tuple[float, list[str]]:
    """The seconds until all prompts, sent at the same moment, are answered, and the texts."""
    with ThreadPoolExecutor(len(prompts)) as clients:
        started_s = time.perf_counter()
        texts = list(clients.map(ask, prompts))
        return time.perf_counter() - started_s, texts


def measure(python: Path, rounds: int) -> list[dict[str, Any]]:
    prompts = [prompt[:60].rstrip() for prompt in PROMPTS] * (AT_ONCE // len(PROMPTS))
    with peer(python) as theirs, server(AT_ONCE) as ours, httpx.Client(timeout=600) as client:
        systems = {"dlmserve": of_peer(client, theirs)}
        systems |= {preset: of_ours(client, ours, preset) for preset in PRESETS}
        times: dict[tuple[str, int], list[float]] = {(name, n): [] for name in systems for n in (1, AT_ONCE)}
        texts: dict[str, list[str]] = {}
        for ask in systems.values():
            ask(prompts[0])  # warms up
        for _ in range(rounds):
            for name, ask in systems.items():
                times[name, 1].append(answers(ask, prompts[:1])[0])
                seconds, texts[name] = answers(ask, prompts[:1] * AT_ONCE)
                times[name, AT_ONCE].append(seconds)
    return [_row(name, times, texts) for name in systems]


def _row(name: str, times: dict[tuple[str, int], list[float]], texts: dict[str, list[str]]) -> dict[str, Any]:
    row: dict[str, Any] = {"system": name, "same_text_as_dlmserve": texts[name][0] == texts["dlmserve"][0]}
    for number in (1, AT_ONCE):
        ratios = [theirs / own for theirs, own in zip(times["dlmserve", number], times[name, number], strict=True)]
        row[f"seconds_{number}"] = round(statistics.median(times[name, number]), 3)
        row[f"x_dlmserve_{number}"] = round(statistics.median(ratios), 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="the interpreter of an environment with dlmserve")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the peer's server; started by this program")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "dlmserve.json")
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    if options.python is None:
        parser.error("--python is needed")
    from benchmarks import machine

    rows = measure(options.python, options.rounds)
    print(f"{'':12}{'one: s':>10}{'x dlmserve':>12}{'eight: s':>10}{'x dlmserve':>12}  the same text")
    for row in rows:
        print(
            f"{row['system']:12}{row['seconds_1']:10.2f}{row['x_dlmserve_1']:12.2f}{row[f'seconds_{AT_ONCE}']:10.2f}"
            f"{row[f'x_dlmserve_{AT_ONCE}']:12.2f}  {row['same_text_as_dlmserve']}"
        )
    report = {"machine": machine.describe(), "new_tokens": NEW_TOKENS, "block_length": BLOCK, "systems": rows}
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
