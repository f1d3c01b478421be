"""The languages that regular expressions match: as a whole, or somewhere in a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.text.constraints.characters import ANY
from app.text.constraints.language import EMPTY, Chars, Language, Machine, choice, optional, repeat, sequence, text
from app.text.constraints.limits import Budget
from app.text.constraints.operations import intersect, subtract
from app.text.constraints.regex_parser import Branch, Look
from app.text.errors import ConstraintError

Write = Callable[[Language], Language]
"""The way in which characters are written; it keeps texts apart."""
ANYTHING = repeat(Chars(ANY), 0, None)


def plainly(language: Language) -> Language:
    """The characters as they are."""
    return language


def whole(branches: Sequence[Branch], budget: Budget, write: Write = plainly) -> Language:
    """The texts that match as a whole."""
    return choice(_under_looks(branch, branch.language, budget, write) for branch in branches)


def search(branches: Sequence[Branch], budget: Budget, write: Write = plainly) -> Language:
    """The texts in which a match stands somewhere.

    Raises:
        ConstraintError: a look-ahead stands where nothing anchors it at the start of the text.
    """
    for branch in branches:
        if branch.looks and not branch.start:
            raise ConstraintError(
                "The regular expression begins with a look-ahead, which is honoured behind ^ alone, for a match may "
                "begin anywhere. Write ^ before it.",
                keyword="look-ahead",
            )
    return choice(_under_looks(branch, framed(branch), budget, write) for branch in branches)


def framed(branch: Branch) -> Language:
    """The texts in which the branch stands where its anchors allow it, whatever its look-aheads say."""
    return sequence(EMPTY if branch.start else ANYTHING, branch.language, EMPTY if branch.end else ANYTHING)


def _under_looks(branch: Branch, language: Language, budget: Budget, write: Write) -> Language:
    found = write(language)
    for look in branch.looks:
        seen = write(choice(_ahead(each, look) for each in look.branches))
        found = Machine(subtract(found, seen, budget) if look.negative else intersect([found, seen], budget))
    return found


def _ahead(branch: Branch, look: Look) -> Language:
    """The texts that begin with a branch of a look-ahead; Python's $ stands before a last line feed, too."""
    end = optional(text("\n")) if look.negative else EMPTY
    return sequence(branch.language, end if branch.end else ANYTHING)
