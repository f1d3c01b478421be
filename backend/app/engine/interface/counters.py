"""Counters of all that an engine has done since it was built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class EngineCounters:
    """The counters of an engine, which only grow.

    The engine thread writes them, any thread may read: each number is right, if a step late.
    """

    num_passes: int = 0
    """Forward passes."""
    num_sequences: int = 0
    """Sequences in them; divided by `num_passes` it is how full the batches are."""
    num_tokens: int = 0
    """Canvas tokens in them, filling left out."""
    busy_s: float = 0.0
    """Seconds in them, reading of logits included."""
    num_out_of_memory: int = 0
    """Passes that did not fit the device."""
    num_split_batches: int = 0
    """Passes among these that were run again in smaller parts."""
    num_not_finite: int = 0
    """Requests that ended because the model gave NaN or infinity for them."""
    num_moved_requests: int = 0
    """Requests that left the device for the CPU, on arrival or on their way."""
    num_moved_models: int = 0
    """Times that the weights followed them."""
    num_returned_models: int = 0
    """Times that they came back."""
