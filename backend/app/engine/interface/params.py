"""The requests to the engine: token ids, and the parameters of decoding. There is no text, and no tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from app.engine.constraint.automaton import TokenAutomaton


@dataclass(frozen=True, slots=True)
class Between:
    """The least and the greatest value that the engine can compute with; a server may allow less."""

    least: float
    greatest: float


_MANY = 2**31
Count = Annotated[int, Between(1, _MANY)]
CountOrZero = Annotated[int, Between(0, _MANY)]
Share = Annotated[float, Between(0.0, 1.0)]
Amount = Annotated[float, Between(0.0, 1e6)]
Signed = Annotated[float, Between(-1e6, 1e6)]
MAX_BIAS = 1e6
"""The greatest size of a bias."""


@dataclass(frozen=True, slots=True)
class DecodingParams:
    """The parameters of decoding one request; `None` means the family's default.

    The defaults are the published samplers' exact behaviour at temperature 0.
    """

    max_new_tokens: Count
    """The largest number of new tokens; the size of the canvas if the family cannot change it."""
    temperature: Amount = 0.0
    """0 is greedy and deterministic."""
    top_p: Share | None = None
    top_k: Count | None = None
    min_p: Share = 0.0
    """The least probability of a token, as a share of the most probable one's (arXiv 2407.01082): after temperature,
    whatever top-p and top-k leave."""
    repetition_penalty: Annotated[float, Between(1e-6, 1e6)] = 1.0
    """Divides positive and multiplies negative logits of tokens that the request has already committed (CTRL,
    arXiv 1909.05858, section 4.1). The given text is not penalised, for infilling has to repeat its names, and
    neither is the end of the text, which LLaDA writes many times."""
    frequency_penalty: Signed = 0.0
    """Taken from the logit of each of these tokens, as often as it has been committed, at whatever positions."""
    presence_penalty: Signed = 0.0
    """Taken from the logit of each of these tokens once."""
    no_repeat_ngram_size: CountOrZero = 0
    """Forbids what would write a run of so many tokens once more (`decoding/ngrams.py`); 0 forbids nothing. The given
    text and the end of the text are passed over, as above."""
    logit_bias: dict[int, float] | None = None
    """Added to the logits of these tokens at every mask, before penalties, temperature and filters. What a sampler does
    not predict anyway stays impossible."""
    seed: Annotated[int, Between(0, 2**64 - 1)] = 0
    """Fixes every random draw of the request, whoever else is in the batch."""
    algorithm: str | None = None
    """LLaDA: low_confidence, random. Dream: origin, maskgit_plus, topk_margin, entropy. DreamOn: the last three."""
    steps: Count | None = None
    """Denoising steps over all rounds; default one per new token. LLaDA and Dream take no more, but one in each round
    at least; the pass that chooses a length is not counted. Beside a rule (below) they are a bound: a step commits what
    is confident enough, and more where it has to. DreamOn: a step commits `max_new_tokens` / `steps` tokens, rounded
    up."""
    cfg_scale: Amount = 0.0
    """LLaDA: classifier-free guidance; the given text is masked in the unconditional branch."""
    confidence_threshold: Share | None = None
    """LLaDA and DreamOn: commit every position with at least this confidence, always the best one, instead of the
    schedule's count (Fast-dLLM, arXiv 2505.22618, section 3.3)."""
    confidence_factor: Amount | None = None
    """Commits the n most confident while (n + 1)(1 - the n-th confidence) < factor (Fast-dLLM, section 3.3)."""
    confidence_margin: Share | None = None
    """Commits the n most confident while 1 - (the sum of their doubts) - (the n-th doubt) > margin, a doubt being 1 - a
    confidence (Fast-dLLM++, arXiv 2606.02955): their joint probability leads by so much, however they depend."""
    entropy_bound: Amount | None = None
    """Commits predictions whose entropies, but for the largest, sum up to at most this many nats (EB-Sampler,
    arXiv 2505.24857). Positions are then ranked by entropy."""
    local_threshold: Share | None = None
    """The confidence that is enough near a position that reaches the confidence threshold (LocalLeap,
    arXiv 2510.07081)."""
    stability_bound: Amount | None = None
    """LLaDA, beside a confidence threshold: only where the distribution moved by less, in nats, in each of the last two
    steps (KLASS, arXiv 2511.05664)."""
    revoke_threshold: Share | None = None
    """LLaDA, beside a confidence threshold: commits of the block whose token has less probability when it is looked at
    again, its place masked, become masks once more (WINO, arXiv 2507.18578)."""
    block_length: Count | None = None
    """LLaDA: masks denoised together, left to right. Default: the whole canvas is one block. Blocks are longer where
    there would be more of them than `steps`, for each takes one at least. Block-causal models: the positions that see
    each other, counted from the beginning of the text; default what the checkpoint was trained with."""
    steps_per_block: Count | None = None
    """Block-causal models: denoising steps of each block, instead of `steps`; default one per position. A step commits
    its share, and beside a rule what is confident too."""
    sub_block_length: Count | None = None
    """Fast-dLLM v2: positions of a block that are denoised together, the first ones first; default 8."""
    eos_never_predicted: bool = False
    """LLaDA's `logits_eos_inf`, for Dream too: no token may be the end of the text. For gaps with text behind them."""
    eos_last: bool = False
    """LLaDA's `confidence_eos_eot_inf`: end-of-text tokens are committed after everything else."""
    alg_temp: Amount = 0.0
    """Dream family: above 0, positions are drawn from softmax(score / alg_temp) instead of the best ones taken."""
    end_of_turn: int | None = None
    """The id that `eos_last` treats like the end of text; only the tokenizer knows it."""
    timestep_eps: Share = 1e-3
    """Dream: where the time schedule ends."""
    transfer_counts: tuple[CountOrZero, ...] = ()
    """Dream: how many masks each step commits, instead of the time schedule's counts; then it also gives the steps."""
    transfers_per_step: Count = 1
    """DreamOn: commits per step."""
    initial_masks: Count | None = None
    """DreamOn: the starting span, at most `max_new_tokens`."""
    expand_budget: CountOrZero | None = None
    """DreamOn: how often a mask may be expanded; default twice the room."""
    pad_delete_to_right: bool = False
    """DreamOn: a delete token deletes every mask to its right."""
    mask_lengths: tuple[Count, ...] = ()
    """Families of fixed length: choose the span among these lengths by first-step confidence (see
    `decoding/gap.py`); empty means `max_new_tokens`."""
    cache: str = "none"
    """The name of a plan in `cache/registry.py`: what is read from a cache and not computed anew at each step, an
    approximation. LLaDA, from the second step of each block on: *prefix* reads the text before the block, *dual* also
    what is behind it (Fast-dLLM, arXiv 2505.22618, section 3.2). Dream and DreamOn: *dual* reads the given text around
    the span, whatever length the span has by then."""
    cache_refresh: Count | None = None
    """Compute everything anew at the first step of every so many blocks (LLaDA, default each; the other blocks begin
    with the one before them), or every so many steps (Dream and DreamOn, default the first one only)."""
    run_to_end: bool = False
    """Carry out every scheduled step, as the published samplers do, also those that cannot change what a reader
    sees: steps that commit nothing, and steps after the end of the text. Such steps draw random numbers too, so with
    a temperature the text is another one. And as there, `steps` are no bound where a rule decides."""


def asks_for(params: DecodingParams, name: str) -> bool:
    """Whether a parameter has another value than its default, which asks for nothing."""
    return bool(getattr(params, name) != params.__dataclass_fields__[name].default)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One job for the engine: denoise the span between `prefix` and `suffix`.

    Generation and infilling are the same job; `open_ended` says that the text may go on after the span, so that a
    canvas which the context length cuts short is followed by another (a round) until `max_new_tokens` are reached.
    """

    request_id: str
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    params: DecodingParams
    open_ended: bool = False
    snapshots: bool = False
    """Send a `CanvasSnapshot` with every step."""
    num_logprobs: int | None = None
    """Send the log-probability of every token, and of so many alternatives beside it."""
    constraint: TokenAutomaton | None = None
    """The texts that the new tokens may spell; `None`: any."""
    adapter: str | None = None
    """The name under which the engine has the adapter that changes the model for this request."""
    checked_for: object = None
    """The `ModelConfig` of the checkpoint that `params` are valid for already (`request/validation.py`). Where it is
    none, or that of another checkpoint, the engine checks them."""


@dataclass(frozen=True, slots=True)
class ReadCanvas:
    """A canvas that is read as it stands: nothing on it is committed."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    """Positions whose distribution is wanted."""
    scored_ids: tuple[tuple[int, ...], ...]
    """For each of them, the tokens whose log-probability is wanted."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One job for the engine: say how probable tokens are at positions of canvases. Nothing is drawn."""

    request_id: str
    canvases: tuple[ReadCanvas, ...]
    num_top: int = 0
    """The most probable tokens that come with each position, beside those that are scored."""
    adapter: str | None = None
    """As in `GenerationRequest`."""
    max_pass_tokens: Count = 2048
    """Tokens of its canvases in one pass: fewer for a request of many canvases, beside which others go on writing. A
    canvas that has more has a pass of its own."""


EngineRequest = GenerationRequest | ReadRequest
