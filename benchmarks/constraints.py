"""Measures what constraints cost, and what they do to a text: `python -m benchmarks.constraints`, from the root.

Three tables. *Compiling*: seconds, and bytes at the peak, for JSON schemas of 3 and of 20 fields, over the vocabularies
of the embedded models and over one of 152,064 tokens, which are those of `dreamon` and pieces of the project's own
documents. *Steps*: a step with 32 open places behind a prompt of 32 tokens, with and without a constraint, in turns;
the network of the wide vocabulary has random weights (width 512, 4 layers). A step's first one is timed, in which
nothing is committed yet, so that its automaton is largest; the graph of what is possible was built before, as it is for
most steps. *Texts*: how often the embedded models write valid JSON by luck, and how probable by the model's own
log-probabilities the tokens of answers are with the constraint and without. Results go to `results/constraints.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import torch

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.engine import Engine
from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.interface.config import EngineConfig
from app.engine.interface.events import EngineEvent, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from app.text.constraints.compile import compile_constraint
from app.text.constraints.vocabulary import Vocabulary
from app.text.tokenizer import Tokenizer
from benchmarks import machine
from benchmarks.speed import HERE, MODELS

OPEN, PROMPT = 32, 32
WIDE_VOCAB = 152_064
WIDE = "random, wide vocabulary"
KINDS: tuple[dict[str, Any], ...] = (
    {"type": "string", "maxLength": 20},
    {"type": "integer"},
    {"type": "boolean"},
    {"enum": ["red", "green"]},
)
WIDE_CONFIG = {
    "model_type": "llada", "architectures": ["LLaDAModelLM"], "d_model": 512, "n_heads": 8, "n_layers": 4,
    "mlp_hidden_size": 1536, "embedding_size": WIDE_VOCAB, "vocab_size": WIDE_VOCAB, "max_sequence_length": 4096,
    "mask_token_id": WIDE_VOCAB - 1, "eos_token_id": WIDE_VOCAB - 2, "rope_theta": 500000.0, "rms_norm_eps": 1e-05,
    "weight_tying": False,
}  # fmt: skip


def schema_of(num_fields: int) -> dict[str, Any]:
    """A flat schema with fields of four kinds in turn; the first three are required."""
    fields = {f"field{index}": KINDS[index % len(KINDS)] for index in range(num_fields)}
    return {"type": "object", "properties": fields, "required": list(fields)[:3] if num_fields <= 3 else []}


def vocabularies() -> dict[str, Vocabulary]:
    """The vocabularies of the embedded models, and a wide one."""
    embedded = {name: _tokens_of(name) for name in ("llada", "dreamon")}
    known = dict.fromkeys(token for token in embedded["dreamon"] if token)
    text = b"\n".join(path.read_bytes() for path in sorted((HERE.parent / "docs").glob("*.md")))
    for length in range(2, 13):
        for start in range(0, len(text) - length, 5):
            if len(known) >= WIDE_VOCAB - 2:
                break
            known[text[start : start + length]] = None
    wide = [*known, *[None] * (WIDE_VOCAB - len(known))]
    return {**{name: Vocabulary(tokens) for name, tokens in embedded.items()}, WIDE: Vocabulary(wide)}


def _tokens_of(name: str) -> list[bytes | None]:
    tokenizer, config = Tokenizer.load(MODELS / name), load_model(MODELS / name, machine.CPU, torch.float32).config
    roles = {config.special.mask, config.special.expand, *config.special.ends}
    return [None if index in roles else tokenizer.bytes_of_text(index) for index in range(config.vocab_size)]


def compiled(vocabulary: Vocabulary, num_fields: int, rounds: int) -> tuple[dict[str, Any], TokenAutomaton]:
    """A row of the first table, and the automaton."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        constraint = compile_constraint("json_schema", schema_of(num_fields), vocabulary)
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    compile_constraint("json_schema", schema_of(num_fields), vocabulary)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    arrays = constraint.classes, constraint.sources, constraint.labels, constraint.targets, constraint.accepting
    row = {"vocabulary": vocabulary.size, "fields": num_fields, "states": len(constraint.accepting)}
    row |= {"edges": len(constraint.sources), "classes": constraint.num_classes}
    return row | {"seconds": statistics.median(seconds), "peak_mb": peak / 1e6}, TokenAutomaton(*arrays)


def request_of(params: DecodingParams, automaton: TokenAutomaton | None) -> GenerationRequest:
    """A continuation of 32 tokens."""
    return GenerationRequest("step", tuple(range(40, 40 + PROMPT)), (), params, open_ended=True, constraint=automaton)


def step_ms(
    runner: ModelRunner, config: ModelConfig, params: DecodingParams, automaton: TokenAutomaton | None
) -> float:
    """Milliseconds of the first step's pass, with the reading of its logits."""
    state = RequestState(request_of(params, automaton), config, lambda event: None)
    state.start()
    start = time.perf_counter()
    runner.run([state.work])
    return 1e3 * (time.perf_counter() - start)


def steps(automata: Mapping[str, Mapping[int, TokenAutomaton]], rounds: int) -> list[dict[str, Any]]:
    """The second table."""
    torch.manual_seed(0)
    wide = build_model(WIDE_CONFIG).requires_grad_(False)
    models = {"llada": load_model(MODELS / "llada", machine.CPU, torch.float32), WIDE: wide}
    models["dreamon"] = load_model(MODELS / "dreamon", machine.CPU, torch.float32)
    rows = []
    for name, model in models.items():
        runner = ModelRunner(model)
        for temperature in (0.0, 0.7):
            params = DecodingParams(OPEN, temperature=temperature)
            if name == "dreamon":
                params = replace(params, initial_masks=OPEN)
            ways = {0: None, **automata[name]}
            times: dict[int, list[float]] = {fields: [] for fields in ways}
            for _ in range(rounds):
                for fields, automaton in ways.items():
                    times[fields].append(step_ms(runner, model.config, params, automaton))
            medians = {fields: statistics.median(each) for fields, each in times.items()}
            for fields in (3, 20):
                row = {"model": name, "vocabulary": model.config.vocab_size, "temperature": temperature}
                row |= {"fields": fields, "plain_ms": medians[0], "constrained_ms": medians[fields]}
                rows.append(row | {"ratio": medians[fields] / medians[0]})
    return rows


def answer(
    runner: ModelRunner, tokenizer: Tokenizer, seed: int, automaton: TokenAutomaton | None
) -> tuple[str, list[float]]:
    """A sampled answer of at most 64 tokens, and the log-probabilities of its tokens."""
    events: list[EngineEvent] = []
    prefix = tuple(tokenizer.encode('The answer as JSON, {"field0": "a", "field1": 1, "field2": true}, or '))
    params = DecodingParams(64, temperature=0.7, seed=seed)
    request = GenerationRequest("a", prefix, (), params, open_ended=True, num_logprobs=0, constraint=automaton)
    engine = Engine(runner, EngineConfig())
    engine.add(RequestState(request, runner.model.config, events.append))
    while engine.has_work:
        engine.step()
    found = [event for event in events if isinstance(event, Step)]
    text = tokenizer.decode([token for event in found for token in event.new_final])
    return text, [each.logprob for event in found for each in event.logprobs]


def texts(automata: Mapping[str, Mapping[int, TokenAutomaton]], num_answers: int) -> list[dict[str, Any]]:
    """The third table."""
    rows = []
    for name in ("llada", "dreamon"):
        runner = ModelRunner(load_model(MODELS / name, machine.CPU, torch.float32))
        tokenizer = Tokenizer.load(MODELS / name)
        for fields in (0, 3):
            answers = [answer(runner, tokenizer, seed, automata[name].get(fields)) for seed in range(num_answers)]
            logprobs = [logprob for _, each in answers for logprob in each]
            valid = sum(is_valid(text) for text, _ in answers) / num_answers
            row = {"model": name, "constrained": bool(fields), "valid": valid, "tokens": len(logprobs) / num_answers}
            rows.append(row | {"nats_a_token": -statistics.mean(logprobs)})
    return rows


def is_valid(text: str) -> bool:
    """Whether it is JSON of three fields."""
    try:
        jsonschema.validate(json.loads(text), schema_of(3))
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def show(rows: list[dict[str, Any]]) -> None:
    """Prints a table."""
    cells = [[f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    cells.insert(0, list(rows[0]))
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--answers", type=int, default=40)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "constraints.json")
    given = parser.parse_args()
    compiling, automata = [], dict[str, dict[int, TokenAutomaton]]()
    for name, vocabulary in vocabularies().items():
        for fields in (3, 20):
            row, automaton = compiled(vocabulary, fields, min(given.rounds, 3))
            compiling.append(row)
            automata.setdefault(name, {})[fields] = automaton
    show(compiling)
    step_rows = steps(automata, given.rounds)
    show(step_rows)
    text_rows = texts(automata, given.answers)
    show(text_rows)
    results = {"machine": machine.describe(), "compiling": compiling, "steps": step_rows, "texts": text_rows}
    given.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
