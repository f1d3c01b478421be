"""All commit rules, one line each, and which of them a request switches on."""

from __future__ import annotations

from app.engine.decoding.commit.counts import Counts
from app.engine.decoding.commit.entropy import EntropyBound
from app.engine.decoding.commit.factor import Factor
from app.engine.decoding.commit.local import LocalLeap
from app.engine.decoding.commit.margin import Margin
from app.engine.decoding.commit.revoke import Revoke
from app.engine.decoding.commit.rule import CommitRule
from app.engine.decoding.commit.stability import Stability
from app.engine.decoding.commit.threshold import Threshold
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.params import DecodingParams

RULES: list[type[CommitRule]] = [
    Threshold,
    Factor,
    Margin,
    EntropyBound,
    LocalLeap,
    Stability,
    Revoke,
]


def register(rule: type[CommitRule]) -> None:
    """Adds a rule that comes from outside. Its parameter is a field of the requests' params."""
    RULES.append(rule)


def rules_on(params: object) -> list[type[CommitRule]]:
    """Gives the rules that a request, in the engine's words or in those of the wire, switches on; rules that stand
    alone come first."""
    return sorted((rule for rule in RULES if rule.is_on(params)), key=lambda rule: rule.REFINES is not None)


def rule_of(params: DecodingParams) -> type[CommitRule]:
    """Gives the rule that decides: one that refines another in its place, `Counts` where none is switched on."""
    default: list[type[CommitRule]] = [Counts]
    return (default + rules_on(params))[-1]


def check(params: DecodingParams) -> None:
    """Refuses rules that do not go together, and what does not go with a rule.

    Raises:
        InvalidRequest: names the parameters.
    """
    on = rules_on(params)
    alone = [rule.PARAMETER for rule in on if rule.REFINES is None]
    refining = [rule for rule in on if rule.REFINES is not None]
    for names in (alone, [rule.PARAMETER for rule in refining]):
        if len(names) > 1:
            raise InvalidRequest(f"{names[0]} and {names[1]} exclude each other; leave one out", field=names[1])
    for rule in refining:
        if alone != [rule.REFINES]:
            raise InvalidRequest(f"{rule.PARAMETER} goes with a {rule.REFINES}; give one", field=rule.PARAMETER)
    for rule in on:
        rule.check(params)
