"""The memory that the weights of a checkpoint take, known from its config and the headers of its files.

llada in bfloat16, on a CPU that computes in bfloat16   all of it mapped: pages of the file
the same in float32                                     twice its size, held
the same in int8                                        layers held with one byte a weight; embedding and head mapped
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from app.engine.families.checkpoint_files import weight_files
from app.engine.families.open_weights import open_weights
from app.engine.interface.config import QuantizationName
from app.engine.models.base import FamilyModel
from app.engine.models.quantisation import quantised_bytes, weights_to_quantise

PUBLISHED = torch.bfloat16
"""The type of weights whose files are not there."""
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_PACKED = torch.uint8
"""The type of weights that become float32 when they are read: those that a GGUF has quantised."""
_QUANTISING_BYTES = {"none": 0, "int8": 1, "nf4": 5}
"""Bytes a weight, beside what is held, while a projection is quantised: in another order, or in float32 too."""


@dataclass(frozen=True, slots=True)
class WeightSizes:
    """Bytes on one device."""

    held: int
    """Bytes that are taken until the model leaves."""
    mapped: int = 0
    """Bytes of the checkpoint's files that are used as they lie there. Where memory is short the system drops such
    pages and reads them again: that is slow, and no reason to refuse."""
    loading: int = 0
    """Bytes more for a moment, while the weights are read."""

    @property
    def all(self) -> int:
        """Bytes of the weights."""
        return self.held + self.mapped


def stored_types(folder: Path) -> dict[str, torch.dtype]:
    """Gives the type of each stored tensor, by name.

    Raises:
        CheckpointError: a weight file is missing or damaged.
    """
    types: dict[str, torch.dtype] = {}
    for path in weight_files(folder):
        with open_weights(path) as file:
            names = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - not a dict
        types |= {name: _TYPES.get(kind, _PACKED) for name, kind in names.items()}
    return types


def weight_sizes(
    model: FamilyModel,
    device: torch.device,
    dtype: torch.dtype,
    quantization: QuantizationName,
    stored: Mapping[str, torch.dtype],
) -> WeightSizes:
    """Gives what the weights take as `load_model` puts them on a device. The model may be one without numbers."""
    quantised = weights_to_quantise(model) if quantization != "none" else {}
    held = mapped = loading = 0
    for name, weight in model.named_parameters():
        kind = stored.get(
            name, stored.get(model.HEAD_NAME, PUBLISHED)
        )  # the head may be stored in the embedding's place
        unpacked = weight.numel() * torch.float32.itemsize if kind is _PACKED else 0
        loading = max(loading, unpacked)
        if name in quantised:
            held += quantised_bytes(weight, quantization)
            copied = 0 if device.type == "cpu" else kind.itemsize
            loading = max(loading, unpacked + weight.numel() * (_QUANTISING_BYTES[quantization] + copied))
        elif device.type == "cpu" and kind is dtype:
            mapped += weight.numel() * dtype.itemsize
        else:
            held += weight.numel() * dtype.itemsize
    return WeightSizes(held, mapped, loading)
