"""Schemas with the place where they stand, and references to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from app.text.constraints.json_schema.keywords import check_keywords, refuse
from app.text.constraints.limits import Budget, check_size
from app.text.errors import ConstraintError

DRAFTS = ("draft/2020-12", "draft/2019-09", "draft-07", "draft-06")


@dataclass(frozen=True, eq=False)
class Scoped:
    """A schema, its JSON pointer, the references that were followed to it, and the levels of values around it."""

    schema: Any
    path: str = "#"
    trail: tuple[str, ...] = ()
    depth: int = 0

    def below(self, schema: Any, *steps: str | int) -> Scoped:
        """A schema of a part of the value."""
        return Scoped(schema, "/".join([self.path, *map(str, steps)]), self.trail, self.depth + 1)

    def beside(self, schema: Any, *steps: str | int) -> Scoped:
        """A schema of the same value."""
        return Scoped(schema, "/".join([self.path, *map(str, steps)]), self.trail, self.depth)

    def check(self, budget: Budget) -> None:
        """Raises ConstraintError where the schema is none, nested too deep, or has keywords that are not honoured."""
        budget.spend_node()
        check_size("schemas within schemas", max(self.depth, len(self.trail)), budget.limits.nesting)
        if not isinstance(self.schema, dict | bool):
            raise ConstraintError(f"The schema at {self.path} must be an object, true or false.")
        if isinstance(self.schema, dict):
            check_keywords(self.schema, self.path)


class Document:
    """A whole schema, in which references are looked up."""

    def __init__(self, root: Any, budget: Budget) -> None:
        self.root = root
        self.cut = False
        """Whether a reference stood more often within itself than the limit."""
        self._budget = budget
        _check_draft(root)

    def follow(self, scoped: Scoped) -> Scoped | None:
        """The schema that a reference names; None where it stands within itself too often."""
        reference = scoped.schema["$ref"]
        if scoped.trail.count(reference) >= self._budget.limits.recursion:
            self.cut = True
            return None
        target = self._find(reference, scoped.path)
        return Scoped(target, reference, (*scoped.trail, reference), scoped.depth)

    def _find(self, reference: str, path: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            refuse("$ref", path, f"names {reference!r}: only references within the schema (#/...) are followed")
        target = self.root
        for step in reference.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            elif isinstance(target, dict) and name in target:
                target = target[name]
            else:
                raise ConstraintError(f"The schema's $ref at {path} names {reference!r}, which is not there.", "$ref")
            if isinstance(target, dict) and isinstance(target.get("$id"), str):
                refuse("$id", reference)
        return target


def _check_draft(root: Any) -> None:
    """Raises ConstraintError for a draft in which the keywords mean something else."""
    draft = root.get("$schema", DRAFTS[0]) if isinstance(root, dict) else DRAFTS[0]
    if not any(known in str(draft) for known in DRAFTS):
        raise ConstraintError(f"The schema's $schema is {draft!r}. Write it for Draft 2020-12.", "$schema")
    if DRAFTS[0] not in str(draft) and "prefixItems" in str(root):
        raise ConstraintError("The schema's prefixItems needs Draft 2020-12 in $schema.", "prefixItems")
