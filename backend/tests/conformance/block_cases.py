"""Golden decoding cases of the block-causal families: what their parameters mean here, and how a trace is judged.

The references run a pass of its own that caches a finished block; here the next block's first step does that too, so
only passes that predict something are compared: denoising passes, and with Fast-dLLM v2 those that give the first
token of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safetensors.torch import load_file

from app.engine.canvas.special import SpecialIds
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.sampling import filtered, predict
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from tests.conformance.judging import Case, DecodingCase, Raw, compare_canvases, expect, expect_one_end, only_known
from tests.conformance.traces import Trace

PROBABILITY_ATOL = 1e-5

_SDAR = {
    *("family", "gen_length", "block_length", "denoising_steps", "remasking", "confidence_threshold", "temperature"),
    *("top_k", "top_p", "draw", "stop_ids", "mask_token_id"),
}
_STABLE_DIFFCODER = {
    *("family", "steps", "gen_length", "block_length", "temperature", "remasking", "threshold", "mask_token_id"),
    "eos_token_id",
}
_FAST_DLLM = {
    *("family", "max_new_tokens", "block_size", "small_block_size", "threshold", "temperature", "mask_token_id"),
    "stop_token_id",
}


def block_case(case: Case, raw: Raw, config: ModelConfig) -> DecodingCase:
    """The request of a case, and its judge."""
    expect(raw["mask_token_id"] == config.special.mask, f"mask_token_id is {raw['mask_token_id']}")
    params, stop_ids = {"sdar": _sdar, "stable_diffcoder": _stable_diffcoder, "fast_dllm_v2": _fast_dllm}[
        raw["family"]
    ](raw)
    judge = _judge_fast_dllm if raw["family"] == "fast_dllm_v2" else _judge
    [prompt] = case.raw["prompt_ids"]
    request = GenerationRequest(case.label, tuple(prompt), (), params, open_ended=True)
    return DecodingCase((request,), lambda traces: judge(case.raw, traces[0], stop_ids), _ending_with(config, stop_ids))


def _ending_with(config: ModelConfig, stop_ids: Sequence[int]) -> SpecialIds:
    """The checkpoint's ids with other ends of the text; the mask, which is never predicted, where there are none."""
    special = config.special
    return SpecialIds.with_ends(
        tuple(stop_ids) or (special.mask,), mask=special.mask, pad=special.pad, bos=None, unusable=special.unusable
    )


def judge_distribution(case: Case, runner: ModelRunner) -> None:
    """The probabilities from which a token would be drawn at each open position of the last block."""
    raw = case.raw
    golden = load_file(case.file.with_suffix(".safetensors"))[raw["probabilities"]]
    [ids], shift = raw["input_ids"], runner.model.config.prediction_shift
    expect(raw["shifted"] == bool(shift), "the checkpoint has another shift")
    logits = runner.logits([SequenceInput(ids, raw["places"], block_length=raw["block_length"])])
    filters = raw["temperature"], raw["top_p"], raw["top_k"] or None
    rules = LogitRules(Score.PROBABILITY, *filters, scores_see_filters=True, top_k_first=True)
    actual = filtered(logits / raw["temperature"], rules).softmax(-1)
    worst = (actual - golden).abs().max().item()
    expect(worst <= PROBABILITY_ATOL, f"probabilities differ by up to {worst:.2e}")
    kept = (actual > 0).sum(-1).tolist()
    expect(kept == raw["kept"], f"{kept} tokens are left, expected {raw['kept']}")
    token_ids, _, confidences = predict(logits, rules, None).tolist()
    expect(token_ids == golden.argmax(-1).tolist(), "the most probable tokens differ")
    worst = max(abs(ours - theirs) for ours, theirs in zip(confidences, golden.amax(-1).tolist(), strict=True))
    expect(worst <= PROBABILITY_ATOL, f"confidences differ by up to {worst:.2e}")


def _sdar(raw: Raw) -> tuple[DecodingParams, list[int]]:
    only_known(raw, _SDAR)
    expect(raw["draw"] in ("mode", "top_k_1"), f"draw {raw['draw']!r} has no fixed outcome")
    kind = raw["remasking"]
    expect(kind in ("low_confidence_static", "low_confidence_dynamic", "sequential"), f"remasking {kind!r}")
    is_plain = (raw["temperature"], raw["top_k"], raw["top_p"]) == (1.0, 0, 1.0)
    params = DecodingParams(
        max_new_tokens=raw["gen_length"],
        # The most probable token, scored by the plain distribution: what temperature 0 is.
        temperature=0.0 if is_plain else raw["temperature"],
        top_k=raw["top_k"] or None,
        top_p=raw["top_p"],
        block_length=raw["block_length"],
        steps_per_block=raw["denoising_steps"],
        algorithm="sequential" if kind == "sequential" else "low_confidence",
        confidence_threshold=raw["confidence_threshold"] if kind == "low_confidence_dynamic" else None,
        run_to_end=True,
    )
    return params, raw["stop_ids"] or []


def _stable_diffcoder(raw: Raw) -> tuple[DecodingParams, list[int]]:
    only_known(raw, _STABLE_DIFFCODER)
    expect(raw["temperature"] == 0 and raw["remasking"] == "low_confidence", "the outcome is not fixed")
    params = DecodingParams(
        max_new_tokens=raw["gen_length"],
        block_length=raw["block_length"],
        steps_per_block=raw["steps"] // (raw["gen_length"] // raw["block_length"]),
        confidence_threshold=raw["threshold"],
        run_to_end=True,
    )
    return params, [] if raw["eos_token_id"] is None else [raw["eos_token_id"]]


def _fast_dllm(raw: Raw) -> tuple[DecodingParams, list[int]]:
    only_known(raw, _FAST_DLLM)
    expect(raw["temperature"] == 0, "the outcome is not fixed")
    params = DecodingParams(
        max_new_tokens=raw["max_new_tokens"],
        block_length=raw["block_size"],
        sub_block_length=raw["small_block_size"],
        confidence_threshold=raw["threshold"],
        run_to_end=True,
    )
    return params, [] if raw["stop_token_id"] is None else [raw["stop_token_id"]]


def _judge(raw: Raw, trace: Trace, stop_ids: Sequence[int]) -> None:
    golden = [raw["canvases"][0][0]]
    golden += [
        canvas[0] for canvas, made_by in zip(raw["canvases"][1:], raw["passes"], strict=True) if _denoises(made_by)
    ]
    compare_canvases(trace.canvases, golden, "the request")
    expect(trace.nfe == raw["nfe"], f"nfe is {trace.nfe}, expected {raw['nfe']}")
    final = raw["final_ids"][0]
    num_kept = _num_kept(final, len(raw["prompt_ids"][0]), stop_ids)
    expect(trace.canvases[-1][:num_kept] == final[:num_kept], "final ids differ")
    _judge_answer(raw, trace, stop_ids)


def _denoises(made_by: Sequence[Any]) -> bool:
    return bool(made_by[0] == "denoise")


def _num_kept(ids: Sequence[int], start: int, stop_ids: Sequence[int]) -> int:
    """Ids up to the first end of the text: Stable-DiffCoder overwrites what is behind."""
    return next((index + 1 for index in range(start, len(ids)) if ids[index] in stop_ids), len(ids))


def _judge_fast_dllm(raw: Raw, trace: Trace, stop_ids: Sequence[int]) -> None:
    """As far as the reference goes, which decodes another number of blocks: its canvas grows, and a storing pass is
    compared where it gives a token."""
    [prompt] = raw["prompt_ids"]
    made_by = raw["passes"]
    gives_token = [kind != "prefill" or end == len(prompt) for kind, _, end in made_by]
    golden = [raw["canvases"][0][0]]
    golden += [canvas[0] for canvas, gives in zip(raw["canvases"][1:], gives_token, strict=True) if gives]
    for step, (ours, theirs) in enumerate(zip(trace.canvases, golden, strict=False)):
        expect(ours[: len(theirs)] == theirs[: len(ours)], f"the canvas after step {step} differs")
    compared = min(len(trace.canvases), len(golden))
    expect(compared >= raw["nfe"], f"{compared} canvases could be compared, and {raw['nfe']} passes denoise")
    _judge_answer(raw, trace, stop_ids)


def _judge_answer(raw: Raw, trace: Trace, stop_ids: Sequence[int]) -> None:
    """The answer is compared as far as the reference wrote, or to its stop."""
    start, end = trace.span
    final, [golden] = trace.canvases[-1][start:end], raw["answer_ids"]
    answer = final[: next((index for index, token_id in enumerate(final) if token_id in stop_ids), len(final))]
    if not {*stop_ids} & {*raw["final_ids"][0][start:]}:
        answer = answer[: len(golden)]
    expect(answer == golden, "the answer differs")
    expect_one_end(trace.events)
