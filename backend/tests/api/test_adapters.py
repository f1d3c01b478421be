"""Adapters over HTTP: added to a running server, asked by every face, and taken away again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from openai import OpenAI

from app.engine.families.checkpoint import load_model
from tests.api.serving import CHECKPOINTS, Json, Server
from tests.api.test_constraints import PATTERN, check, text_of
from tests.unit.engine.adapters import write_whole_adapter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = load_model(CHECKPOINTS / "llada-tiny", torch.device("cpu"), torch.float32)
    return write_whole_adapter(tmp_path_factory.mktemp("adapters") / "secret" / "mine", base)


@pytest.fixture
def adapted(server: Server, folder: Path) -> Iterator[Server]:
    """A server that has an adapter, and one that is broken."""
    wanted = {"adapters": f"mine=llada:{folder},broken=llada:/no/such/adapter"}
    assert server.post("/config", wanted).status_code == 200
    yield server
    assert server.post("/config", {"adapters": ""}).status_code == 200


def test_an_adapter_answers_under_its_own_id_and_is_listed_with_its_base(adapted: Server, folder: Path) -> None:
    asked = {"text": "Once upon", "max_length": 8, "seed": 5, "temperature": 0.0}
    base, mine = (adapted.answer("/generate", {**asked, "model_id": name}) for name in ("llada", "mine"))
    assert (mine["model_id"], base["model_id"]) == ("mine", "llada")
    assert mine["generated_text"] != base["generated_text"]
    models = {model["model_id"]: model for model in adapted.get("/models").json()["models"]}
    assert models["mine"]["base_model"] == "llada"
    assert models["llada"]["base_model"] is None
    assert adapted.get("/admin/stats").json()["model_usage"]["mine"] >= 1
    with OpenAI(base_url=f"{adapted.url}/v1", api_key="none is needed", max_retries=0) as client:
        assert (client.models.retrieve("mine").model_extra or {})["parent"] == "llada"
        answer = client.completions.create(model="mine", prompt="Once upon", max_tokens=8, seed=5, temperature=0.0)
    assert answer.choices[0].text == mine["generated_text"]


def test_reads_through_an_adapter_and_its_base_are_the_same_alone_and_together(adapted: Server) -> None:
    def read(name: str) -> float:
        parts = ["Once upon a ", {"hole": "x", "choices": ["time", "day"]}]
        holes = adapted.answer("/read", {"model_id": name, "parts": parts})["holes"]
        return float(holes["x"]["choices"][0]["logprob"])

    def decide(name: str) -> float:
        body = {"model": name, "state": "Once", "questions": {"q": {"type": "noul", "instructions": "So?"}}}
        answer = adapted.session.post(f"{adapted.url}/v1/systemone", json=body, timeout=60).json()
        return float(answer["answers"]["q"]["noul"])

    names = ("mine", "llada")
    for ask in (read, decide):
        alone = list(map(ask, names))
        assert alone[0] != pytest.approx(alone[1], abs=1e-3)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, names * 4)) == alone * 4


def test_answers_through_an_adapter_obey_constraints(adapted: Server) -> None:
    body: Json = {"text": "Once upon", "max_length": 48, "seed": 5, "constraint": {"regex": PATTERN}, "logprobs": 0}

    def answered(name: str) -> Json:
        return adapted.answer("/generate", {**body, "model_id": name})

    mine, base = answered("mine"), answered("llada")
    for answer in (mine, base):
        check(answer["generated_text"], body["constraint"])
    assert mine["model_id"] == "mine"
    assert mine["metadata"]["logprobs"] != base["metadata"]["logprobs"]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(answered, ("mine", "llada") * 3))
    assert [each["generated_text"] for each in together] == [mine["generated_text"], base["generated_text"]] * 3
    assert text_of(adapted.events("/generate/stream", {**body, "model_id": "mine"})) == mine["generated_text"]


def test_an_adapter_that_cannot_be_loaded_is_explained_and_its_base_answers(adapted: Server) -> None:
    answer = adapted.answer("/generate", {"text": "Once upon", "max_length": 4, "model_id": "broken"})
    assert answer["model_id"] == "llada"
    refused = adapted.post("/admin/models/broken/reload", {})
    assert refused.status_code == 503
    assert "adapter folder" in refused.json()["detail"]


@pytest.mark.parametrize("adapters", ["x", "x=llada", "x=nobody:/m/x", "llada=llada:/m/x"])
def test_wrong_adapters_are_refused_and_change_nothing(adapted: Server, adapters: str) -> None:
    before = adapted.get("/models").json()
    refused = adapted.post("/config", {"adapters": adapters})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "adapters"
    assert {model["model_id"] for model in adapted.get("/models").json()["models"]} == {
        model["model_id"] for model in before["models"]
    }
