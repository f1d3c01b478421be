"""Published models that this engine does not compute, each with the reason, so that nobody looks for a defect.

Nothing here imports torch, so that a download can be judged without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_EXPERTS = "it is a mixture of experts, and only dense networks are computed"
_ONE_BY_ONE = "it is autoregressive: it writes one token after another, and denoises nothing"


class Unsupported(NamedTuple):
    """One model or family of models."""

    title: str
    names: tuple[str, ...]
    """Values of `model_type` or `architectures` that belong to it alone."""
    reason: str


UNSUPPORTED = (
    Unsupported("LLaDA2", ("llada2_moe", "LLaDA2MoeModelLM"), _EXPERTS),
    Unsupported("LLaDA-MoE", ("llada_moe", "LLaDAMoEModel", "LLaDAMoEModelLM"), _EXPERTS),
    Unsupported("SDAR with experts", ("sdar_moe", "SDARMoeForCausalLM"), _EXPERTS),
    Unsupported("RND1", ("rnd1", "RND1LM"), _EXPERTS),
    Unsupported(
        "DiffusionGemma",
        ("diffusion_gemma", "DiffusionGemmaForBlockDiffusion"),
        "it has an encoder and experts, and denoises a canvas without masks",
    ),
    Unsupported(
        "Nemotron-Labs-Diffusion",
        ("nemotron_labs_diffusion", "NemotronLabsDiffusionModel"),
        "its attention and its sampler are its own, and are not computed here",
    ),
    Unsupported(
        "WeDLM",
        ("wedlm", "WeDLMForCausalLM"),
        "it attends causally and moves what is known before the masks, which is not done here",
    ),
    Unsupported(
        "LFM2 with block diffusion",
        ("Lfm2ForBlockDiffusion",),
        "its network has convolutions, and its canvas begins as random tokens without masks",
    ),
    Unsupported("Llama", ("LlamaForCausalLM",), _ONE_BY_ONE),
    Unsupported("Qwen", ("Qwen2ForCausalLM", "Qwen3ForCausalLM"), _ONE_BY_ONE),
    Unsupported("Mistral", ("MistralForCausalLM",), _ONE_BY_ONE),
)


def why_unsupported(raw_config: Mapping[str, Any]) -> str | None:
    """Gives the sentence for a `config.json` with one of these names, in any case; `None` where it has none."""
    architectures = raw_config.get("architectures")
    names = [raw_config.get("model_type"), *(architectures if isinstance(architectures, list) else ())]
    found = {str(name).lower() for name in names}
    for model in UNSUPPORTED:
        for name in model.names:
            if name.lower() in found:
                return f"config.json says {name}: {model.title} is not supported, because {model.reason}"
    return None
