"""The client's types are those of the server, from which they are written apart."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from app.core.parameters import PARAMETERS
from app.services.diffusion import likelihood
from app.services.diffusion import models as server_models
from app.services.diffusion import reports as server_reports
from reynard_diffusion import Parameters, reports, results
from reynard_diffusion.lm_eval import limits

OWN: list[Any] = [
    results.DiffusionStreamEvent,
    results.GenerationResult,
    results.DiffusionModelInfo,
    reports.ParameterBound,
    reports.MemoryReport,
    reports.DiffusionModelDetails,
    reports.DiffusionStatistics,
    reports.ComponentHealth,
    reports.DiffusionHealth,
    reports.CleanupReport,
    reports.ConfigurationChange,
]


def written(kind: Any) -> str:
    """A type without the modules that its parts come from."""
    return re.sub(r"<class '(.+)'>", r"\1", re.sub(r"[\w.]+\.(?=[A-Z])", "", str(kind)))


def default_of(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_fields_types_and_defaults_are_those_of_the_server(kind: Any) -> None:
    home = server_models if hasattr(server_models, kind.__name__) else server_reports
    model: type[BaseModel] = getattr(home, kind.__name__)
    hints = get_type_hints(kind)
    theirs = {name: written(each.annotation) for name, each in model.model_fields.items()}
    assert {each.name: written(hints[each.name]) for each in fields(kind)} == theirs
    defaults = {each.name: default_of(each) for each in fields(kind)}
    required = {name for name, default in defaults.items() if default is MISSING}
    assert required == {name for name, each in model.model_fields.items() if each.is_required()}
    for name in defaults.keys() - required - {"timestamp"}:
        assert defaults[name] == model.model_fields[name].get_default(call_default_factory=True), name


def test_every_parameter_that_has_a_row_is_typed() -> None:
    assert Parameters.__optional_keys__ == PARAMETERS.keys()
    assert not Parameters.__required_keys__


def test_bounds_of_evaluations_are_those_of_the_server() -> None:
    assert limits.MAX_TEXT_CHARACTERS == server_models.MAX_TEXT_CHARACTERS
    assert limits.MAX_STOP_STRINGS == server_models.MAX_STOP_STRINGS
    assert limits.MAX_TEXTS == likelihood.MAX_TEXTS
    assert limits.DEFAULT_SAMPLES == likelihood.DEFAULT_SAMPLES
