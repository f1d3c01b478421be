"""Alternatives of a schema: references, allOf, anyOf and oneOf are dissolved into sets of plain schemas."""

from __future__ import annotations

from collections.abc import Iterator

from app.text.constraints.json_schema import plain
from app.text.constraints.json_schema.disjoint import Together, disjoint, kinds_of
from app.text.constraints.json_schema.keywords import TYPES, refuse
from app.text.constraints.json_schema.scope import Document, Scoped
from app.text.constraints.limits import Budget


class Alternatives:
    """The sets of plain schemas, one of which holds for a value.

    With `proving`, oneOf is read as anyOf, so that no value which satisfies the schema is missed.
    """

    def __init__(self, document: Document, budget: Budget, *, proving: bool = False) -> None:
        self._document = document
        self._budget = budget
        self._proving = proving

    def of(self, together: Together) -> Iterator[Together]:
        """The alternatives of schemas that hold together."""
        pending, found, branches = list(together), [], []
        while pending:
            scoped = pending.pop(0)
            scoped.check(self._budget)
            if scoped.schema is False:
                return
            if scoped.schema is True:
                continue
            found.append(scoped)
            if "$ref" in scoped.schema:
                target = self._document.follow(scoped)
                if target is None:
                    return
                pending.append(target)
            pending += _branches(scoped, "allOf")
            branches += [self._choices(scoped, keyword) for keyword in ("anyOf", "oneOf") if keyword in scoped.schema]
        yield from self._chosen(tuple(found), branches)

    def _chosen(self, found: Together, branches: list[list[Together]]) -> Iterator[Together]:
        """The plain schemas, together with each combination of branches."""
        if not branches:
            yield found
            return
        for branch in branches[0]:
            for alternative in self.of(branch):
                yield from self._chosen(found + alternative, branches[1:])

    def _choices(self, scoped: Scoped, keyword: str) -> list[Together]:
        """The branches; a branch of oneOf comes with schemas that exclude the others."""
        branches = _branches(scoped, keyword)
        if keyword == "anyOf" or self._proving:
            return [(branch,) for branch in branches]
        proof = Alternatives(self._document, self._budget, proving=True)
        kind = scoped.beside({"type": scoped.schema.get("type", list(TYPES))})
        return [(one, *(guard for other in branches for guard in proof.guards(one, other, kind))) for one in branches]

    def guards(self, one: Scoped, other: Scoped, kind: Scoped) -> list[Scoped]:
        """The schemas that keep values of a branch of oneOf from satisfying another one; all are of one kind."""
        if one is other or self.exclude((kind, one), (kind, other)):
            return []
        mine = list(self.of((kind, one)))
        return [_guard(one, mine, alternative, other) for alternative in self.of((kind, other))]

    def exclude(self, one: Together, other: Together) -> bool:
        """Whether it is sure that no value satisfies both."""
        cut, self._document.cut = self._document.cut, False
        pairs = [(a, b) for a in self.of(one) for b in self.of(other)]
        whole, self._document.cut = not self._document.cut, cut
        return whole and all(disjoint(a, b, self.exclude) for a, b in pairs)


def _guard(one: Scoped, mine: list[Together], theirs: Together, other: Scoped) -> Scoped:
    """A schema that forbids a property which the other branch requires and this one does not."""
    ours = {name for alternative in mine for name in plain.required(alternative)}
    names = [name for name in plain.required(theirs) if name not in ours]
    shared = {kind for alternative in mine for kind in kinds_of(alternative)} & kinds_of(theirs)
    if not names or shared != {"object"}:
        refuse("oneOf", one.path, f"does not exclude {other.path}: both may hold, which anyOf would allow")
    written = {name for alternative in mine for name in plain.names_of(alternative)}
    name = min(names, key=lambda name: name in written)
    return one.beside({"properties": {name: False}})


def _branches(scoped: Scoped, keyword: str) -> list[Scoped]:
    return [scoped.beside(branch, keyword, number) for number, branch in enumerate(scoped.schema.get(keyword, ()))]
