"""Golden vectors of the published schema: which cases a folder holds, and how each is judged.

A case is recognised by its shape, not by its file name, so that folders with other checkpoints and cases can be run.
What is not understood is a failure, never a skip.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.engine.canvas.masking import MaskedSample
from app.engine.decoding.schedule import dream_transfer_count, timesteps
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.likelihood import cross_entropies, log_likelihood, round_loss
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from tests.conformance.block_cases import block_case
from tests.conformance.judging import (
    Case,
    DecodingCase,
    Mismatch,
    Raw,
    compare_canvases,
    expect,
    expect_one_end,
    only_known,
)
from tests.conformance.traces import Trace

LOGITS_ATOL, LOGITS_RTOL = 2e-4, 1e-4
LIKELIHOOD_ATOL, LIKELIHOOD_RTOL = 1e-3, 1e-4


def find_cases(folder: Path) -> list[Case]:
    """All cases under `folder`: goldens beside the checkpoints that they name."""
    return [case for file in sorted(folder.rglob("*.json")) for case in _cases_in(folder, file)]


def _cases_in(folder: Path, file: Path) -> list[Case]:
    where = file.relative_to(folder)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        return [Case(str(where), file, folder, {"not JSON": str(error)})]
    if not isinstance(content, dict):
        return []
    raws = [("case", raw) for raw in content.get("cases", [])]
    raws += [("tokenizer", raw) for raw in content.get("tokenizers", [])]
    return [
        Case(
            label=f"{where} {kind} {index}: {raw.get('name', raw.get('checkpoint', '?'))}",
            file=file,
            checkpoint=_checkpoint(folder, raw.get("checkpoint", content.get("checkpoint"))),
            raw=raw,
        )
        for index, (kind, raw) in enumerate(raws)
    ]


def _checkpoint(folder: Path, name: str | None) -> Path:
    found = [path.parent for path in folder.rglob("config.json") if path.parent.name == name]
    return found[0] if found else folder / str(name)


# -- decoding cases --------------------------------------------------------------------------------------------------


def decoding_case(case: Case, runner: ModelRunner) -> DecodingCase | None:
    """The requests of a decoding case; `None` for cases of another kind.

    Raises:
        Mismatch: it is a decoding case, but not one that is understood.
    """
    params = case.raw.get("params")
    if params is None:
        return None
    if "history" in case.raw:
        return _dreamon_case(case, params, runner)
    if "family" in params:
        return block_case(case, params, runner.model.config)
    if "remasking" in params:
        return _llada_case(case, params, runner)
    if "alg" in params:
        return _dream_case(case, params, runner)
    raise Mismatch("no sampler is known for these parameters")


def _check_special(params: Raw, runner: ModelRunner) -> None:
    special = runner.model.config.special
    roles = {
        "mask_token_id": special.mask,
        "eos_token_id": special.eos,
        "delete_token_id": special.eos,
        "expand_token_id": special.expand,
    }
    for role, token_id in roles.items():
        expect(params.get(role, token_id) == token_id, f"{role} is {params.get(role)}, the checkpoint has {token_id}")


_LLADA_PARAMS = {
    *("steps", "gen_length", "block_length", "cfg_scale", "logits_eos_inf", "confidence_eos_eot_inf", "temperature"),
    *("remasking", "mask_token_id", "eos_token_id", "eot_token_id", "threshold"),
}


def _llada_case(case: Case, raw: Raw, runner: ModelRunner) -> DecodingCase:
    only_known(raw, _LLADA_PARAMS)
    _check_special(raw, runner)
    expect(raw["remasking"] == "low_confidence", f"remasking {raw['remasking']!r} has no fixed outcome")
    cache = case.raw.get("cache", "none")
    steps = raw["steps"]
    if "cache" in case.raw:
        # Fast-dLLM leaves a block as soon as it is full and so never runs LLaDA's idle steps.
        num_blocks = raw["gen_length"] // raw["block_length"]
        steps = min(steps // num_blocks, raw["block_length"]) * num_blocks
    params = DecodingParams(
        max_new_tokens=raw["gen_length"],
        temperature=raw["temperature"],
        steps=steps,
        block_length=raw["block_length"],
        cfg_scale=raw.get("cfg_scale", 0.0),
        eos_never_predicted=raw.get("logits_eos_inf", False),
        eos_last=raw.get("confidence_eos_eot_inf", False),
        end_of_turn=raw.get("eot_token_id"),
        confidence_threshold=raw.get("threshold"),
        algorithm="low_confidence",
        cache=cache,
        run_to_end=True,
    )
    return _rows_case(case, params)


_DREAM_PARAMS = {"max_new_tokens", "steps", "alg", "eps", "top_p", "top_k", "alg_temp", "temperature", "mask_token_id"}


def _dream_case(case: Case, raw: Raw, runner: ModelRunner) -> DecodingCase:
    only_known(raw, _DREAM_PARAMS)
    _check_special(raw, runner)
    params = DecodingParams(
        max_new_tokens=raw["max_new_tokens"],
        transfer_counts=_shared_counts(case, raw, runner.model.config.special.mask),
        temperature=raw["temperature"],
        top_p=raw["top_p"],
        top_k=raw["top_k"],
        steps=raw["steps"],
        algorithm=raw["alg"],
        alg_temp=raw["alg_temp"],
        timestep_eps=raw["eps"],
        run_to_end=True,
    )
    return _rows_case(case, params)


def _shared_counts(case: Case, raw: Raw, mask_id: int) -> tuple[int, ...]:
    """The reference commits the same number in all rows of a batch, from the average number of their masks.

    Rows with equally many masks follow the schedule by themselves; for others the counts are worked out here.
    """
    masks = [row.count(mask_id) + raw["max_new_tokens"] for row in case.raw["prompt_ids"]]
    if len(set(masks)) == 1:
        return ()
    times = timesteps(raw["steps"], raw["eps"])
    counts = []
    for step in range(raw["steps"]):
        counts.append(dream_transfer_count(sum(masks) / len(masks), step, times))
        masks = [max(left - counts[-1], 0) for left in masks]
    return tuple(counts)


def _rows_case(case: Case, params: DecodingParams) -> DecodingCase:
    """One request per row of the batch. Hidden columns (padding) are left out: a canvas has none here."""
    prompts, masks = case.raw["prompt_ids"], case.raw.get("attention_mask")
    expect(params.temperature == 0, "a temperature above 0 has no fixed outcome")
    visible = [
        [column for column in range(len(row)) if masks is None or masks[index][column]]
        for index, row in enumerate(prompts)
    ]
    requests = tuple(
        GenerationRequest(f"{case.label}/{index}", tuple(row[c] for c in visible[index]), (), params, open_ended=True)
        for index, row in enumerate(prompts)
    )

    def judge(traces: Sequence[Trace]) -> None:
        for index, trace in enumerate(traces):
            columns = visible[index] + list(range(len(prompts[index]), len(case.raw["final_ids"][index])))
            canvases = [[canvas[index][c] for c in columns] for canvas in case.raw["canvases"]]
            final = [case.raw["final_ids"][index][c] for c in columns]
            compare_canvases(trace.canvases, canvases, f"row {index}")
            expect(trace.canvases[-1] == final, f"row {index}: final ids differ")
            expect(trace.nfe == case.raw["nfe"], f"row {index}: nfe is {trace.nfe}, expected {case.raw['nfe']}")
            expect_one_end(trace.events)

    return DecodingCase(requests, judge)


_DREAMON_PARAMS = {
    *("number_transfer_tokens", "expand_budget", "pad_delete_to_right", "top_p", "top_k", "alg", "max_new_tokens"),
    *("temperature", "alg_temp", "mask_token_id", "expand_token_id", "delete_token_id", "eos_token_id"),
}


def _dreamon_case(case: Case, raw: Raw, runner: ModelRunner) -> DecodingCase:
    only_known(raw, _DREAMON_PARAMS)
    _check_special(raw, runner)
    expect(raw["temperature"] == 0 and raw["alg_temp"] == 0, "a temperature above 0 has no fixed outcome")
    ids, mask_id = case.raw["input_ids"], runner.model.config.special.mask
    start = ids.index(mask_id) if mask_id in ids else len(ids)
    end = next((i for i in range(start, len(ids)) if ids[i] != mask_id), len(ids))
    params = DecodingParams(
        max_new_tokens=raw["max_new_tokens"],
        top_p=raw["top_p"],
        top_k=raw["top_k"],
        algorithm=raw["alg"],
        transfers_per_step=raw["number_transfer_tokens"],
        initial_masks=end - start,
        expand_budget=raw["expand_budget"],
        pad_delete_to_right=raw["pad_delete_to_right"],
        run_to_end=True,
    )
    request = GenerationRequest(case.label, tuple(ids[:start]), tuple(ids[end:]), params)
    return DecodingCase((request,), lambda traces: _judge_dreamon(case.raw, traces[0], mask_id))


def _judge_dreamon(raw: Raw, trace: Trace, mask_id: int) -> None:
    history, kinds = _history(trace, mask_id)
    expect(kinds == raw["history_kinds"], "the kinds of events differ")
    compare_canvases(history, raw["history"], "history")
    expect(trace.canvases[-1] == raw["final_ids"], "final ids differ")
    expect(len(trace.canvases[-1]) == raw["final_length"], "the final length differs")
    start, end = trace.span
    expect(trace.canvases[-1][start:end] == raw["middle_ids"], "the middle differs")
    expect(trace.nfe == raw["nfe"], f"nfe is {trace.nfe}, expected {raw['nfe']}")
    expect(sum(len(e.expanded) for e in trace.edits) == raw["expansions"], "the number of expansions differs")
    expect(sum(len(e.deleted) for e in trace.edits) == raw["deletions"], "the number of deletions differs")
    expect_one_end(trace.events)


def _history(trace: Trace, mask_id: int) -> tuple[list[list[int]], list[str]]:
    """The reference's snapshots, replayed from the edits: after commits, after deletions, after expansions."""
    snapshots: list[list[int]] = []
    kinds: list[str] = []
    for before, after, edits in zip(trace.canvases[:-1], trace.canvases[1:], trace.edits, strict=True):
        canvas = list(before)
        for position, token_id, _ in edits.committed:
            canvas[position] = token_id
        snapshots.append(list(canvas))
        kinds.append("commit")
        if edits.deleted:
            canvas = [i for position, i in enumerate(canvas) if position not in edits.deleted]
            snapshots.append(list(canvas))
            kinds.append("delete")
        if edits.expanded:
            snapshots.append(list(after))
            kinds.append("expand")
        expect(snapshots[-1] == after, "the edits of a step do not lead to its canvas")
    return snapshots, kinds


# -- forward passes --------------------------------------------------------------------------------------------------


def judge_forward(case: Case, runner: ModelRunner, *, together: bool) -> None:
    """Raw logits of every visible row, each row of the batch alone or all in one packed pass."""
    golden = load_file(case.file.with_suffix(".safetensors"))[case.raw["logits"]]
    rows = [_visible_row(case.raw, index, runner) for index in range(len(case.raw["input_ids"]))]
    groups = [rows] if together else [[row] for row in rows]
    block_length = case.raw.get("block_length")
    logits = [part for group in groups for part in _forward(runner, group, block_length)]
    for index, (columns, _, _) in enumerate(rows):
        expected = golden[index, columns]
        close = torch.allclose(logits[index].float(), expected, atol=LOGITS_ATOL, rtol=LOGITS_RTOL)
        worst = (logits[index].float() - expected).abs().max().item()
        expect(close, f"row {index}: logits differ by up to {worst:.2e}")


Row = tuple[list[int], list[int], list[int]]


def _visible_row(raw: Raw, index: int, runner: ModelRunner) -> Row:
    """Columns that count, their ids and their position ids."""
    ids = raw["input_ids"][index]
    mask = raw["attention_mask"][index] if raw.get("attention_mask") else [1] * len(ids)
    columns = [column for column, is_visible in enumerate(mask) if is_visible]
    if raw.get("position_ids"):
        positions = [raw["position_ids"][index][column] for column in columns]
    else:
        positions = columns if runner.model.config.family == "llada" else list(range(len(columns)))
    return columns, [ids[column] for column in columns], positions


@torch.inference_mode()
def _forward(runner: ModelRunner, rows: Sequence[Row], block_length: int | None) -> list[Tensor]:
    ids = torch.tensor([i for _, row_ids, _ in rows for i in row_ids])
    positions = torch.tensor([p for _, _, row_positions in rows for p in row_positions])
    lengths = [len(row_ids) for _, row_ids, _ in rows]
    if block_length is None:
        logits = runner.model.head(runner.model.hidden(ids, positions, lengths))
        return list(torch.split(logits, lengths))
    shift = runner.model.config.prediction_shift  # the row of the last token predicts the next position
    sequences = [
        SequenceInput(row_ids, range(shift, len(row_ids) + shift), block_length=block_length) for _, row_ids, _ in rows
    ]
    return list(torch.split(runner.logits(sequences), lengths))


# -- likelihood ------------------------------------------------------------------------------------------------------


def judge_likelihood(case: Case, runner: ModelRunner) -> None:
    raw = case.raw
    prompt, answer, scale = raw["prompt_ids"], raw["answer_ids"], raw["cfg_scale"]
    rounds = [
        [MaskedSample(tuple(m), p) for m, p in zip(r["masked_positions"], r["p_mask"], strict=True)]
        for r in raw["rounds"]
    ]
    for index, (samples, golden) in enumerate(zip(rounds, raw["rounds"], strict=True)):
        entropies = cross_entropies(runner, prompt, answer, samples, scale)
        flat = [value for row in entropies for value in row]
        _expect_close(flat, golden["cross_entropy"], f"round {index}: cross-entropy")
        _expect_close([round_loss(samples, entropies)], [golden["loss"]], f"round {index}: loss")
    total = log_likelihood(runner, prompt, answer, rounds, scale)
    _expect_close([total], [raw["log_likelihood"]], "log-likelihood")


def _expect_close(actual: Sequence[float], golden: Sequence[float], what: str) -> None:
    expect(len(actual) == len(golden), f"{what}: {len(actual)} values, expected {len(golden)}")
    for ours, theirs in zip(actual, golden, strict=True):
        is_close = abs(ours - theirs) <= LIKELIHOOD_ATOL + LIKELIHOOD_RTOL * abs(theirs)
        expect(is_close, f"{what} is {ours}, expected {theirs}")
