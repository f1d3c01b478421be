"""The lm-evaluation-harness, unmodified, evaluates a running server. Whoever wants to run these installs the extra
`lm-eval`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.text import Tokenizer
from tests.api.serving import BACKEND, CHECKPOINTS, Server

pytestmark = pytest.mark.filterwarnings("ignore")  # what the harness's packages warn of is theirs to mend
pytest.importorskip("lm_eval", reason="needs the package lm_eval: extra lm-eval")

NUM_SAMPLES = 4

TASK = """
task: tiny
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/items.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
target_delimiter: ""
doc_to_choice: "{{choices}}"
doc_to_target: 0
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
ITEMS = [("Once upon a", [" time", " horse and a cart"]), ("", ["Good morning", "purple"]), ("He is ", ["a", "of"])]


@pytest.fixture
def model(server: Server) -> Iterator[Any]:
    from reynard_diffusion.lm_eval.model import ReynardLM

    model = ReynardLM(server.url, model="llada", num_samples=NUM_SAMPLES, num_concurrent=3)
    yield model
    model.close()


def requests_of(kind: str, *arguments: tuple[Any, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, each, 0) for each in arguments]


def asked(server: Server, prefix: str, text: str) -> float:
    """The endpoint's own number."""
    body = {"model_id": "llada", "prefix": prefix, "texts": [text], "num_samples": NUM_SAMPLES}
    return float(server.answer("/likelihood", body)["likelihoods"][0]["log_likelihood"])


def test_continuations_have_the_numbers_of_the_endpoint(server: Server, model: Any) -> None:
    pairs = [("Once upon a", " time"), ("", "Once"), ("Once upon a", " horse"), ("It is ", "so"), ("It", "")]
    answers = model.loglikelihood(requests_of("loglikelihood", *pairs), disable_tqdm=True)
    behind = [("Once upon a", " time"), ("", "Once"), ("Once upon a", " horse"), ("It is", " so")]
    assert answers == [*((asked(server, *pair), False) for pair in behind), (0.0, False)]


def test_documents_have_the_numbers_of_the_endpoint(server: Server, model: Any) -> None:
    documents = [("one two three",), ("short",), ("",)]
    answers = model.loglikelihood_rolling(requests_of("loglikelihood_rolling", *documents), disable_tqdm=True)
    assert answers == [asked(server, "", "one two three"), asked(server, "", "short"), 0.0]


def test_texts_are_those_of_the_server_and_repetitions_differ(server: Server, model: Any) -> None:
    greedy, drawn = {"until": ["\n"], "max_gen_toks": 8}, {"until": [], "max_gen_toks": 8, "temperature": 2.0}
    texts = model.generate_until(
        requests_of("generate_until", ("It", greedy), ("He", drawn), ("He", drawn)), disable_tqdm=True
    )
    common = {"model_id": "llada", "max_length": 8, "repetition_penalty": 1.0}
    own = [
        {"text": "It", "temperature": 0.0, "stop": ["\n"], "seed": 0},
        {"text": "He", "temperature": 2.0, "seed": 0},
        {"text": "He", "temperature": 2.0, "seed": 1},
    ]
    assert texts == [server.answer("/generate", {**common, **body})["generated_text"] for body in own]
    assert texts[1] != texts[2]


def test_the_harness_reads_the_tokens_of_the_server(server: Server) -> None:
    from lm_eval.utils import RemoteTokenizer, check_remote_tokenizer_support

    completions = f"{server.url}/v1/completions"
    assert check_remote_tokenizer_support(completions)
    remote, own = RemoteTokenizer(completions), Tokenizer.load(CHECKPOINTS / "llada-tiny")
    assert remote.encode("Once upon a time") == own.encode("Once upon a time")
    assert remote.decode(own.encode("Once upon a time")) == "Once upon a time"
    assert (remote.eos_token_id, remote.eot_token) == (own.require("eos"), own.require("eos"))
    turns = [{"role": "user", "content": "How old is Anne?"}]
    said = remote.apply_chat_template(turns, bos_token=remote.bos_token)  # it leaves out special tokens by itself
    assert "How old is Anne?" in said


def test_the_harness_evaluates_a_task(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TASK.replace("FOLDER", str(tmp_path)))
    lines = [json.dumps({"context": context, "choices": choices}) for context, choices in ITEMS]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    arguments = f"base_url={server.url},model=llada,num_samples={NUM_SAMPLES}"
    command = ["run", "--model", "reynard", "--model_args", arguments, "--tasks", "tiny"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "reynard_diffusion.lm_eval",
            *command,
            "--include_path",
            tmp_path,
            "--output_path",
            "out",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(BACKEND), "HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1"},
        check=True,
    )
    (results,) = tmp_path.glob("out/**/results_*.json")
    right = [is_right(server, context, choices) for context, choices in ITEMS]
    assert json.loads(results.read_text())["results"]["tiny"]["acc,none"] == pytest.approx(sum(right) / len(right))


def is_right(server: Server, context: str, choices: list[str]) -> bool:
    """Whether the first choice is the most probable one."""
    bare = context.rstrip()
    numbers = [asked(server, bare, context[len(bare) :] + choice) for choice in choices]
    return numbers[0] == max(numbers)
