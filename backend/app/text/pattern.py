"""Terms and regular expressions that can be searched for in a text that still grows, or has gaps.

`pattern_parts` shows one expression taken apart, and `search` the same expression found in a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import Any

import re2  # type: ignore[import-untyped]  # it has no annotations

from app.text.errors import PatternError
from app.text.folding import Fold, as_written, caseless, decomposed, is_word_character
from app.text.pattern_parts import Parts, parts_of

DEFAULT_MAX_LENGTH = 200
MAX_EXPRESSION_CHARACTERS = 1_000

_TOO_LARGE = "it is too large; divide it, or repeat less often"
_NO_WORD = r"[^\pL\pN\pM_]"
_SPACES = re2.compile(r"[\s\pZ]+")
_MAX_TERM_CHARACTERS = 2_500
_MAX_COMPILED_CHARACTERS = 500_000
_MAX_COMPILED_BYTES = 16 * 1024 * 1024


class Pattern:
    """A compiled pattern; it holds no state of a text, and any thread may use it.

    RE2 does the matching, in time linear in the text, whatever the expression. Where several matches begin at one
    position the first alternative wins, as in Python's `re`; matches of more than `max_length` characters do not count.

    All offsets are positions in the folded text. `whole`, `beginning` and `ending` are as in Parts; `may_surround` says
    whether all of a text may lie inside a match that begins and ends in unknown text around it.
    """

    def __init__(
        self,
        whole: str,
        beginning: str,
        ending: str,
        may_surround: Callable[[str], bool],
        *,
        fold: Fold,
        whole_words: bool,
        max_length: int,
    ) -> None:
        self.fold = fold
        self.max_length = max_length
        self.may_surround = may_surround
        self._whole_words = whole_words
        after = _NO_WORD if whole_words else "(?s:.)"
        unfinished = f"{beginning}|{whole}" if whole_words else beginning
        self._whole = _compiled(whole)
        self._followed = _compiled(f"({whole}){after}")
        self._followed_or_last = _compiled(rf"({whole})(?:{after}|\z)")
        self._open = _compiled(rf"(?:{unfinished})\z")
        self._ending = _compiled(rf"({ending}|{whole})(?:{after}|\z)", longest=True)

    def first_match(self, text: str, start: int) -> tuple[int, int] | None:
        """The first match in `text` that begins at `start` or later."""
        while (found := self._whole.search(text, start)) is not None:
            begin = int(found.start())
            if (end := self._bounded_end(text, begin)) is not None:
                return begin, end
            start = begin + 1
        return None

    def open_start(self, text: str, start: int) -> int:
        """The first position from `start` on where a match may have begun that further text could complete or change.

        It is the length of the text if there is none.
        """
        start = max(start, len(text) - self.max_length)
        while True:
            begin = int(self._open.search(text, start).start())
            if begin == len(text) or self._may_begin_at(text, begin):
                return begin
            start = begin + 1

    def ending_length(self, text: str) -> int:
        """The number of characters at the start of `text` that may end a match begun in unknown text before it."""
        found = self._ending.match(text)
        return int(found.end(1)) if found is not None else 0

    def _bounded_end(self, text: str, begin: int) -> int | None:
        """The end of the match that begins at `begin`; `None` if there is none that is short enough, and a whole word
        where that is asked for.

        RE2 sees one character more than a match may have, since a match may depend on what follows it, and no more than
        that, so that the answer does not depend on how much of the text is known.
        """
        if not self._may_begin_at(text, begin):
            return None
        limit = begin + self.max_length + 1
        bounded = self._followed if limit <= len(text) else self._followed_or_last
        found = bounded.match(text, begin, limit)
        return int(found.end(1)) if found is not None else None

    def _may_begin_at(self, text: str, begin: int) -> bool:
        return not self._whole_words or begin == 0 or not is_word_character(text[begin - 1])


def patterns_of_terms(
    terms: Sequence[str],
    *,
    ignore_case: bool = True,
    whole_words: bool = True,
    max_length: int = DEFAULT_MAX_LENGTH,
) -> list[Pattern]:
    """Patterns that find any of the words or phrases; where several begin at one position, the longest matches.

    A space in a term stands for any white space, so that a match may be longer than its term, up to `max_length`.

    Raises:
        PatternError: a term has nothing to look for.
    """
    fold = caseless if ignore_case else decomposed
    folded = sorted({_folded_term(term, fold) for term in terms}, key=lambda term: (-len(term), term))
    return [
        _pattern_of_folded(some, fold=fold, whole_words=whole_words, max_length=max_length) for some in _divided(folded)
    ]


def pattern_of_expression(
    expression: str,
    *,
    ignore_case: bool = True,
    whole_words: bool = False,
    max_length: int = DEFAULT_MAX_LENGTH,
) -> Pattern:
    """The pattern of a regular expression in the syntax of RE2.

    Raises:
        PatternError: the expression is invalid, matches the empty text, or is too large.
    """
    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        raise PatternError(f"it has {len(expression)} characters, more than {MAX_EXPRESSION_CHARACTERS}")
    _compiled(expression)
    parts = parts_of(expression).in_group("i" if ignore_case else "")
    if parts.can_be_empty:
        raise PatternError("it matches the empty text, and so every text")
    return Pattern(
        parts.whole,
        parts.beginning,
        parts.ending,
        _inside(parts),
        fold=as_written,
        whole_words=whole_words,
        max_length=max_length,
    )


def _folded_term(term: str, fold: Fold) -> str:
    """The term as it is searched for: folded, with single spaces.

    Raises:
        PatternError: nothing visible is left of it.
    """
    folded = " ".join("".join(map(fold, term)).split())
    if not folded:
        raise PatternError(f"the term {term!r} has nothing to look for")
    return folded


def _divided(terms: Sequence[str]) -> Iterator[list[str]]:
    """The terms in lists that each make a pattern small enough for RE2 to match fast."""
    some: list[str] = []
    num_characters = 0
    for term in terms:
        num_characters += len(term)
        if some and num_characters > _MAX_TERM_CHARACTERS:
            yield some
            some, num_characters = [], len(term)
        some.append(term)
    if some:
        yield some


def _pattern_of_folded(terms: Sequence[str], *, fold: Fold, whole_words: bool, max_length: int) -> Pattern:
    def may_surround(text: str) -> bool:
        return _SPACES.sub(" ", text) in together

    together = "\n".join(terms)
    longest = max(map(len, terms))
    return Pattern(
        _any_of(map(_whole, terms)),
        _any_of(map(_beginning, terms)),
        _any_of(map(_ending, terms)),
        may_surround,
        fold=fold,
        whole_words=whole_words,
        max_length=max(max_length, longest),
    )


def _any_of(expressions: Iterable[str]) -> str:
    return f"(?:{'|'.join(expressions)})"


def _letters(term: str) -> list[str]:
    return [r"[\s\pZ]+" if character == " " else re2.escape(character) for character in term]


def _whole(term: str) -> str:
    return "".join(_letters(term))


def _beginning(term: str) -> str:
    """The expression for an unfinished term: `(?:a(?:b)?)?` for `abc`."""
    return reduce(lambda inner, letter: f"(?:{letter}{inner})?", reversed(_letters(term)[:-1]), "")


def _ending(term: str) -> str:
    """The expression for the end of a term: `(?:(?:b)?c)?` for `abc`."""
    return reduce(lambda inner, letter: f"(?:{inner}{letter})?", _letters(term)[1:], "")


def _inside(parts: Parts) -> Callable[[str], bool]:
    """A test whether a text may be a part of a match; it is always true if the middle is too large to compile."""
    try:
        inside = _compiled(f"{parts.middle}|{parts.beginning}|{parts.ending}|{parts.whole}")
    except PatternError:
        return lambda text: True
    return lambda text: inside.fullmatch(text) is not None


def _compiled(expression: str, *, longest: bool = False) -> Any:
    """The expression compiled by RE2; any number of threads may search with it.

    Raises:
        PatternError: RE2 refuses the expression, or it is too large.
    """
    if len(expression) > _MAX_COMPILED_CHARACTERS:
        raise PatternError(_TOO_LARGE)
    options = re2.Options()
    options.max_mem = _MAX_COMPILED_BYTES
    options.log_errors = False
    options.longest_match = longest
    try:
        return re2.compile(expression, options)
    except UnicodeEncodeError:
        raise PatternError("it is not valid Unicode") from None
    except re2.error as error:
        raise PatternError(_reason(error)) from None


def _reason(error: Exception) -> str:
    (reason,) = error.args
    said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    return _TOO_LARGE if "too large" in said else said
