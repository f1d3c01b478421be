from __future__ import annotations

from typing import Any, get_args

import click
import pytest
from click.testing import CliRunner

from app.cli.parameters import parameter_options
from app.services.diffusion.models import Request


@click.command()
@parameter_options(Request)
def ask(parameters: dict[str, Any]) -> None:
    click.echo(repr(parameters))


FLOATS = [
    f"--{name.replace('_', '-')}" for name, field in Request.model_fields.items() if float in get_args(field.annotation)
]


def asked(*arguments: str) -> Any:
    done = CliRunner().invoke(ask, arguments)
    assert done.exit_code == 0, done.output
    return eval(done.output)


def test_every_parameter_of_a_request_is_an_option() -> None:
    names = {option.name for option in ask.params}
    assert names == set(Request.model_fields) - {"stream", "stream_mode", "constraint"}


def test_only_given_options_are_sent_with_their_own_types() -> None:
    assert asked() == {}
    given = asked("--model", "llada", "--top-k", "5", "--temperature", "0", "--stop", "a", "--stop", "b")
    assert given == {"model_id": "llada", "top_k": 5, "temperature": 0.0, "stop": ["a", "b"]}
    assert Request.model_validate(given).temperature == 0
    given = asked("--logit-bias", "198=-100", "--logit-bias", "7=2.5", "--frequency-penalty", "-0.5")
    assert given == {"logit_bias": {198: -100.0, 7: 2.5}, "frequency_penalty": -0.5}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--temperature", "2.1", "0.0<=x<=2.0"),
        ("--confidence-threshold", "0", "0.0<x<=1.0"),
        ("--max-length", "0", "1<=x<=2048"),
        *[
            (name, value, f"Invalid value for '{name}': {value} is no number")
            for name in FLOATS
            for value in ("nan", "NaN")
        ],
        *[(name, "inf", "not in the range") for name in FLOATS],
        ("--seed", "9223372036854775808", "0<=x<=9223372036854775807"),
        ("--model", "caf\udce9", "Invalid value for '--model': byte 0xe9 is no UTF-8"),
        ("--stop", "\udcff", "Invalid value for '--stop': byte 0xff is no UTF-8"),
        ("--logit-bias", "198", "'198' is no token id and its bias; give them as 198=-100"),
        ("--logit-bias", "x=1", "'x=1' is no token id and its bias"),
        ("--logit-bias", f"{'9' * 5_000}=1", "is no token id and its bias"),
        ("--logit-bias", "1=101", "-100.0<=x<=100.0"),
        ("--logit-bias", "1=nan", "nan is no number"),
        ("--decoding", "fastest", "'exact', 'balanced', 'fast'"),
    ],
)
def test_bounds_are_those_of_the_service(option: str, value: str, message: str) -> None:
    done = CliRunner().invoke(ask, [option, value])
    assert done.exit_code == 2
    assert message in done.output
