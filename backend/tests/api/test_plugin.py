"""A model from a package outside the tree, found by its entry point, is served like a built-in one."""

from __future__ import annotations

from tests.api.plugin_models import words
from tests.api.serving import Server


def test_it_is_listed_with_its_bounds(server: Server) -> None:
    server.answer("/generate", {"text": "x", "model_id": "words", "max_length": 1})  # so it has been loaded
    models = {model["model_id"]: model for model in server.get("/admin/models").json()["models"]}
    assert models["words"]["is_available"]
    assert models["words"]["capabilities"] == ["generate", "infill", "chat"]
    assert models["silent"]["capabilities"] == ["generate", "chat", "read"]
    assert models["words"]["parameters"]["max_length"] == {"minimum": 1, "maximum": 2048}


def test_it_generates_infills_and_streams(server: Server) -> None:
    expected = "".join(words(4, 6))
    chosen = {"model_id": "words", "seed": 4, "max_length": 6}
    assert server.answer("/generate", {"text": "x", **chosen})["generated_text"] == expected
    assert server.answer("/infill", {"prefix": "x", **chosen})["infilled_text"] == expected
    for path, body in (("/generate/stream", {"text": "x"}), ("/infill/stream", {"suffix": "x"})):
        events = server.events(path, {**body, **chosen})
        assert [event["type"] for event in events] == ["start", *["token"] * 6, "complete"]
        assert events[-1]["metadata"]["tokens_generated"] == 6


def test_it_is_reloaded_and_cleaned_up(server: Server) -> None:
    assert server.post("/admin/models/words/reload").status_code == 200
    server.post("/admin/cleanup")
    assert server.answer("/generate", {"text": "x", "model_id": "words", "max_length": 1})["model_id"] == "words"


def test_a_broken_entry_point_affects_no_other_model(server: Server) -> None:
    health = server.get("/admin/health").json()
    assert "Absent" in health["models"]["not-there"]["detail"]
    with server.configured(model_fallback=False):
        response = server.post("/generate", {"text": "x", "model_id": "not-there"})
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
