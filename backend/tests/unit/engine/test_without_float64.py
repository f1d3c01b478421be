"""A device without double precision, such as Metal's: the model runs there, and what reads its logits does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from tests.conformance import traces
from tests.unit.engine.mixture import mixed_requests


class NoFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses every operation that takes or gives a tensor of double precision."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in (*args, *(kwargs or {}).values(), result):
            if isinstance(value, Tensor) and value.dtype is torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it")
        return result


class OnMetal(Tensor):
    """Lets nothing be done with it but to be copied to the host."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not Tensor.cpu:
            raise TypeError(f"{func} runs on the device")
        with torch._C.DisableTorchFunctionSubclass():
            return args[0].as_subclass(Tensor)


class MetalRunner(ModelRunner):
    """A runner that takes its device for Metal's; its tensors lie in main memory."""

    def __init__(self, model: FamilyModel) -> None:
        super().__init__(model, "mps", cpu_runtime="torch")
        self.device = torch.device("mps")

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        with NoFloat64():  # type: ignore[no-untyped-call]
            return super().logits(sequences).as_subclass(OnMetal)


@pytest.mark.parametrize("name", ["llada-tiny", "dreamon-tiny"])
def test_every_kind_of_request_gets_the_events_that_it_gets_elsewhere(
    name: str, runners: Mapping[str, ModelRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = runners[name].model
    requests = mixed_requests(model.config, seed=17, count=24)
    expected = traces.run(ModelRunner(model, "mps", cpu_runtime="torch"), requests, together=True)
    told = traces.run(MetalRunner(model), requests, together=True)
    assert [trace.events for trace in told] == [trace.events for trace in expected]
    assert "Failed" not in {type(trace.events[-1]).__name__ for trace in told}


@pytest.mark.parametrize("use", [Tensor.double, lambda x: x.softmax(-1)], ids=["float64", "anything else"])
def test_the_logits_of_such_a_device_can_be_copied_and_nothing_else(use: Callable[[Tensor], Any]) -> None:
    logits = torch.zeros(2, 3).as_subclass(OnMetal)
    assert torch.equal(logits.cpu(), torch.zeros(2, 3))
    with pytest.raises(TypeError, match="runs on the device"):
        use(logits)
