from __future__ import annotations

import pytest

from app.engine.families.checkpoint_files import read_json
from app.engine.families.registry import family_of
from app.engine.request.validation import validate
from app.services.diffusion.models import DiffusionInfillingParams
from app.text.tokenizer import Tokenizer
from benchmarks import quality
from benchmarks.ablation import DREAMON, LLADA, measure_quality, measure_speed, name_of, requests_for, show
from benchmarks.defaults import Variation
from benchmarks.speed import GREEDY, MODELS, Workload, workloads
from training.infilling import HiddenLine


@pytest.mark.parametrize(("workload", "rows"), [(workloads()[1], LLADA), (workloads()[3], DREAMON)], ids=lambda x: "")
def test_every_row_is_a_request_that_the_engine_takes(workload: Workload, rows: list[Variation]) -> None:
    raw = read_json(MODELS / workload.model / "config.json")
    tokenizer = Tokenizer.load(MODELS / workload.model)
    for variation in rows:
        known = workload.params.model_validate({**workload.params.model_dump(), **variation})
        assert known.model_copy(update=variation) == known
        validate(requests_for(workload, tokenizer, variation)[0], family_of(raw).config_of(raw))
    assert len({name_of(variation) for variation in rows}) == len(rows)
    assert rows[0] == {}, "the others are compared with it"


def test_exact_decoding_without_its_optimisations_writes_the_same_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"prefix": "def f(a, b):\n", "suffix": "\n    return c\n", "max_length": 4, **GREEDY}
    params = DiffusionInfillingParams.model_validate(fields)
    rows = measure_speed(Workload("short", "dreamon", params), [{}, {"cache": "dual"}], rounds=1)
    assert [*rows] == ["plain", *(name for name in rows if name.startswith("exact, ")), "exact", "cache dual"]
    parts = {name for name in rows if name.startswith("exact, ")}
    assert len(parts) == 4
    assert all(rows[name]["tokens_of_exact"] for name in ("plain", *parts))
    assert all(rows[name]["tokens_per_s_of_eight"] > 0 for name in (*parts, "exact", "cache dual"))
    judged = {"difference": 0.1, "error": 0.0, "mean": 1.0}
    with_quality = {"exact": {"judged": judged}, "cache dual": {"judged": judged}}
    show("dreamon", [{**row, "quality": with_quality.get(name, {})} for name, row in rows.items()])
    printed = capsys.readouterr().out
    assert "1.000 +0.100 ±0.000" in printed
    assert "the same tokens" in printed


async def test_quality_comes_with_its_difference_from_exact_decoding() -> None:
    service = await quality.start_service()
    case = HiddenLine("def add(a, b):\n    ", "return a + b", "\n")
    rows = await measure_quality(lambda changed: quality.infillings(service, [case], changed), [{}, {"cache": "dual"}])
    await service.close()
    assert rows["exact"]["similarity"]["difference"] == 0
    assert rows["cache dual"]["nfe"]["mean"] > 0
