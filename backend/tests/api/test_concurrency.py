"""Requests that run together answer what each answers alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.api.serving import Json, Server

MIXED: list[tuple[str, str, Json]] = [
    ("/generate", "generated_text", {"text": "Once upon a time", "model_id": "llada", "max_length": 16}),
    ("/generate", "generated_text", {"text": "def add(a, b):", "model_id": "dreamon", "max_length": 12}),
    ("/infill", "infilled_text", {"prefix": "The fox", "suffix": "the dog", "model_id": "llada", "max_length": 6}),
    ("/infill", "infilled_text", {"prefix": "if x:", "suffix": "return", "model_id": "dreamon", "max_length": 10}),
    ("/generate", "generated_text", {"text": "x", "model_id": "words", "max_length": 30}),
    ("/generate", "generated_text", {"text": "A much longer prompt " * 20, "model_id": "llada", "max_length": 8}),
]


def ask(server: Server, number: int) -> str:
    path, field, body = MIXED[number % len(MIXED)]
    asked = {**body, "seed": number, "temperature": 0.9}
    if number % 2:
        events = server.events(f"{path}/stream", asked)
        return "".join(event["data"] for event in events if event["type"] == "token")
    return str(server.answer(path, asked)[field])


def test_together_is_as_alone(server: Server) -> None:
    numbers = range(24)
    alone = [ask(server, number) for number in numbers]
    with server.configured(max_concurrent_requests=8), ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda number: ask(server, number), numbers))
    assert together == alone


def test_reloading_drops_no_request(server: Server) -> None:
    body: Json = {"text": "Once upon a time", "model_id": "llada", "max_length": 32, "seed": 1}
    alone = server.answer("/generate", body)["generated_text"]
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(server.answer, "/generate", body) for _ in range(6)]
        reloads = [server.post("/admin/models/llada/reload").status_code for _ in range(3)]
    assert reloads == [200, 200, 200]
    assert {answer.result()["generated_text"] for answer in answers} == {alone}
    assert {answer.result()["model_id"] for answer in answers} == {"llada"}


def test_the_counters_add_up_at_every_moment(server: Server) -> None:
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, server, number) for number in range(12)]
        while not all(answer.done() for answer in asked):
            statistics = server.statistics()
            parts = ("successful_requests", "failed_requests", "cancelled_requests", "requests_in_flight")
            assert statistics["total_requests"] == sum(statistics[part] for part in parts)
