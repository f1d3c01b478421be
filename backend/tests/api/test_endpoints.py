from __future__ import annotations

import time

import pytest

from app.core.version import VERSION
from tests.api.serving import Json, Server

RESPONSE_METADATA = {
    "request_id", "requested_model", "device", "finish_reason", "prompt_tokens", "denoising_steps", "seed",
    "tokens_per_second", "queue_time",
}  # fmt: skip


@pytest.mark.parametrize("model_id", ["dreamon", "llada"])
def test_generate(server: Server, model_id: str) -> None:
    response = server.post("/generate", {"text": "Once upon a time", "model_id": model_id, "max_length": 8, "seed": 3})
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert set(answer) == {"success", "generated_text", "model_id", "processing_time", "tokens_generated", "metadata"}
    assert answer["success"] is True
    assert isinstance(answer["generated_text"], str)
    assert answer["model_id"] == answer["metadata"]["requested_model"] == model_id
    assert answer["processing_time"] > 0
    assert 0 <= answer["tokens_generated"] <= 8
    check_metadata(answer["metadata"], response.headers["x-request-id"])


@pytest.mark.parametrize("model_id", ["dreamon", "llada"])
@pytest.mark.parametrize(("prefix", "suffix"), [("The quick", "dog."), ("The quick", ""), ("", "dog.")])
def test_infill(server: Server, model_id: str, prefix: str, suffix: str) -> None:
    body = {"prefix": prefix, "suffix": suffix, "model_id": model_id, "max_length": 8, "seed": 3}
    response = server.post("/infill", body)
    answer = response.json()
    assert response.status_code == 200
    assert set(answer) == {"success", "infilled_text", "model_id", "processing_time", "tokens_generated", "metadata"}
    assert answer["model_id"] == model_id
    assert answer["tokens_generated"] <= 8
    check_metadata(answer["metadata"], response.headers["x-request-id"])


def check_metadata(metadata: Json, request_id: str) -> None:
    assert metadata.keys() >= RESPONSE_METADATA
    assert metadata["request_id"] == request_id
    assert metadata["device"] == "cpu"
    assert metadata["finish_reason"] in ("stop", "length")
    assert metadata["prompt_tokens"] > 0
    assert metadata["denoising_steps"] > 0
    assert metadata["seed"] == 3
    assert metadata["queue_time"] >= 0


def test_defaults_come_from_the_configuration(server: Server) -> None:
    with server.configured(default_model="words", max_length=5):
        answer = server.answer("/generate", {"text": "x"})
    assert (answer["model_id"], answer["tokens_generated"]) == ("words", 5)


def test_a_chosen_seed_reproduces_the_answer(server: Server) -> None:
    body: Json = {"text": "Once", "model_id": "llada", "max_length": 16, "temperature": 1.0}
    first = server.answer("/generate", body)
    again = server.answer("/generate", {**body, "seed": first["metadata"]["seed"]})
    assert again["generated_text"] == first["generated_text"]


@pytest.mark.parametrize("stream", [True, False])
def test_the_path_decides_about_streaming(server: Server, stream: bool) -> None:
    body = {"text": "x", "model_id": "words", "max_length": 2, "seed": 1, "stream": stream}
    assert "generated_text" in server.answer("/generate", body)
    assert server.events("/generate/stream", body)[-1]["type"] == "complete"


def test_models(server: Server) -> None:
    models = {model["model_id"]: model for model in server.get("/models").json()["models"]}
    assert {"dreamon", "llada", "words"} <= set(models)
    for model in models.values():
        assert set(model) == {
            "model_id", "name", "description", "base_model", "max_length", "is_available", "device", "memory_usage",
            "memory_needed", "capabilities",
        }  # fmt: skip
    assert models["dreamon"]["max_length"] == 2048
    assert models["llada"]["max_length"] == 1024


def test_model_details(server: Server) -> None:
    server.answer("/generate", {"text": "x", "model_id": "llada", "max_length": 1})
    models = {model["model_id"]: model for model in server.get("/admin/models").json()["models"]}
    llada = models["llada"]
    assert llada["is_available"]
    assert llada["capabilities"] == ["generate", "infill", "chat", "read", "constrain"]
    assert llada["parameters"]["max_length"] == {"minimum": 1, "maximum": 1024}
    assert llada["checkpoint"].endswith("llada-tiny")
    assert llada["dtype"] == "float32"
    assert llada["load_time"] > 0
    assert llada["requests_served"] >= 1
    assert models["never-ready"]["is_available"] is False


def test_configuration_is_read_and_changed(server: Server) -> None:
    before = server.get("/config").json()
    change = server.answer("/config", {"top_k": 7, "llada_path": before["llada_path"]})
    assert change["updated"] == {"top_k": 7, "llada_path": before["llada_path"]}
    assert change["needs_reload"] == []
    assert server.get("/config").json() == {**before, "top_k": 7} == change["configuration"]
    server.answer("/config", {"top_k": before["top_k"]})
    assert server.get("/config").json() == before


def test_a_change_that_needs_a_reload_says_so(server: Server) -> None:
    before = server.get("/config").json()["dtype"]
    assert server.answer("/config", {"dtype": "bfloat16"})["needs_reload"] == ["dtype"]
    assert server.answer("/config", {"dtype": before})["needs_reload"] == [], "it is loaded like that"


def test_a_wrong_change_changes_nothing(server: Server) -> None:
    before = server.get("/config").json()
    response = server.post("/config", {"top_k": 7, "temperature": 3.0})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "temperature"
    assert server.get("/config").json() == before


def test_statistics(server: Server) -> None:
    before = server.wait_until_idle()
    server.answer("/generate", {"text": "x", "model_id": "words", "max_length": 4})
    server.post("/generate", {"text": "x", "model_id": "breaks-at-once"})
    after = server.wait_until_idle()
    assert after["total_requests"] == before["total_requests"] + 2
    assert after["successful_requests"] == before["successful_requests"] + 1
    assert after["failed_requests"] == before["failed_requests"] + 1
    assert after["total_tokens_generated"] == before["total_tokens_generated"] + 4
    assert after["model_usage"]["words"] == before["model_usage"].get("words", 0) + 1
    assert after["device_usage"]["cpu"] >= 1
    ended = after["successful_requests"] + after["failed_requests"] + after["cancelled_requests"]
    assert after["total_requests"] == ended
    assert after["error_rate"] == round(100 * after["failed_requests"] / ended, 2)
    assert after["average_processing_time"] > 0


def test_health_says_which_model_is_wrong(server: Server) -> None:
    deadline_s = time.monotonic() + 20
    # What has not been tried yet is not wrong yet.
    while (response := server.get("/admin/health")).json()["models"]["never-ready"]["healthy"]:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    health = response.json()
    assert response.status_code == 200
    assert (health["healthy"], health["status"]) == (False, "degraded")
    assert health["models"]["llada"]["healthy"]
    assert not health["models"]["never-ready"]["healthy"]
    assert not health["models"]["not-there"]["healthy"]
    assert health["devices"]["cpu"]["healthy"]


def test_health_of_a_service_that_is_switched_off(server: Server) -> None:
    with server.configured(enabled=False):
        response = server.get("/admin/health")
    assert response.status_code == 503
    assert (response.json()["healthy"], response.json()["status"]) == (False, "disabled")
    assert response.headers["content-type"] == "application/json"


def test_reload(server: Server) -> None:
    response = server.post("/admin/models/dreamon/reload")
    assert response.status_code == 200
    assert response.json()["success"] is True
    assert response.json()["model"]["model_id"] == "dreamon"
    assert response.json()["model"]["is_available"]


def test_cleanup(server: Server) -> None:
    server.answer("/generate", {"text": "x", "model_id": "llada", "max_length": 1})
    response = server.post("/admin/cleanup")
    assert response.status_code == 200
    assert response.json()["success"] is True
    assert "llada" in response.json()["released_models"]
    assert response.json()["freed_bytes"] > 0
    assert server.answer("/generate", {"text": "x", "model_id": "llada", "max_length": 1})["model_id"] == "llada"


def test_fallback_says_who_answered(server: Server) -> None:
    answer = server.answer("/generate", {"text": "x", "model_id": "never-ready", "max_length": 2})
    assert answer["model_id"] == "dreamon"
    assert answer["metadata"]["requested_model"] == "never-ready"


def test_openapi_describes_everything(server: Server) -> None:
    document = server.session.get(f"{server.url}/openapi.json").json()
    assert (document["info"]["title"], document["info"]["version"]) == ("Reynard Diffusion", VERSION)
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    prefix = "/api/diffusion"
    assert operations == {
        ("post", f"{prefix}/generate"), ("post", f"{prefix}/generate/stream"), ("post", f"{prefix}/infill"),
        ("post", f"{prefix}/infill/stream"), ("get", f"{prefix}/models"), ("get", f"{prefix}/config"),
        ("post", f"{prefix}/config"), ("get", f"{prefix}/admin/stats"), ("get", f"{prefix}/admin/health"),
        ("get", f"{prefix}/admin/models"), ("post", f"{prefix}/admin/models/{{model_id}}/reload"),
        ("post", f"{prefix}/admin/cleanup"), ("get", "/health/live"), ("get", "/health/ready"), ("get", "/metrics"),
        ("get", "/v1/models"), ("get", "/v1/models/{model_id}"), ("post", "/v1/completions"),
        ("post", "/v1/chat/completions"), ("post", "/v1/fim/completions"),
        ("post", "/v1/systemone"), ("post", "/v1/decisions"),
        ("post", "/infill"), ("get", "/props"), ("get", "/health"), ("post", f"{prefix}/read"),
        ("post", f"{prefix}/likelihood"),
        ("post", "/api/generate"), ("post", "/api/chat"), ("post", "/api/show"), ("get", "/api/tags"),
        ("get", "/api/ps"), ("get", "/api/version"),
        ("post", "/tokenize"), ("post", "/detokenize"), ("get", "/tokenizer_info"),
    }  # fmt: skip


def test_openapi_has_no_dangling_reference(server: Server) -> None:
    text = server.session.get(f"{server.url}/openapi.json").text
    document = server.session.get(f"{server.url}/openapi.json").json()
    schemas = document["components"]["schemas"]
    used = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert used <= set(schemas)
    assert set(schemas) == used, "schemas that nothing refers to"
    generate = document["paths"]["/api/diffusion/generate"]["post"]
    body = generate["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/DiffusionGenerationParams"}
    assert "application/problem+json" in generate["responses"]["422"]["content"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_that_needs_a_cdn(server: Server, path: str) -> None:
    assert server.session.get(server.url + path).status_code == 404
