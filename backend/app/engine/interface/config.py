"""The configuration of an engine, fixed when it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DTypeName = Literal["auto", "float32", "bfloat16", "float16"]
QuantizationName = Literal["none", "int8", "nf4"]
QuantizationChoice = Literal["auto", "none", "int8", "nf4"]
RuntimeName = Literal["auto", "onnx", "torch"]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Devices, types and limits of one engine."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps. `auto` takes the CUDA device with most free memory, or the CPU; never MPS."""
    memory_threshold: float = 0.8
    """`auto` passes over a CUDA device of which a larger share is in use already."""
    dtype: DTypeName = "auto"
    """auto: bfloat16 on CUDA, and for a large model on a CPU with units for it; float32 elsewhere, whatever the file
    stores (other CPUs are many times slower in bfloat16)."""
    quantization: QuantizationChoice = "auto"
    """The form of the weights of all layers (`models/quantisation.py`); nf4 needs bitsandbytes. auto: int8 for a large
    model on a CPU where it would not fit main memory otherwise, none elsewhere (`room/choice.py`)."""
    cpu_runtime: RuntimeName = "auto"
    """The runtime on a CPU: auto runs small float32 models as ONNX Runtime graphs (`passes/graphs.py`) where that is
    installed and works, others and elsewhere by PyTorch modules; onnx and torch are these two, or an error."""
    max_waiting: int = 1024
    """Requests that may wait for a place in the batch; one more raises `QueueFull`."""
    max_running: int = 256
    """Requests that are denoised together at most."""
    max_batch_tokens: int = 16_384
    """Canvas tokens in one forward pass; a longer request runs alone."""
    max_logits_bytes: int = 2 * 1024**3
    """Bytes of logits in one step: masked positions x vocabulary x the float32 copies that decoding needs. A GPU with
    more room allows more (`memory.logits_budget`)."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The requests that a model is to have memory for, beside its weights. One of them decides whether it is loaded."""

    num_requests: int = 1
    """Requests that are answered at the same time."""
    num_given: int = 512
    """Tokens of the text that each comes with."""
    num_new: int = 512
    """New tokens of each."""
    is_cached: bool = False
    """Whether they cache keys and values, where the family leaves that to the request."""


DEFAULT_DEMAND = Demand()
