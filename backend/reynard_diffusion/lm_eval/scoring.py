"""Log-likelihoods as an evaluation wants them, of a server that bounds what one request may ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reynard_diffusion.errors import InvalidRequest
from reynard_diffusion.lm_eval.limits import MAX_TEXTS
from reynard_diffusion.sync_client import DiffusionClient

SIZES = {"texts", "num_samples"}
"""The fields by which the server refuses what is too long or too much."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """The log-likelihoods of texts in nats; several threads may use it."""

    client: DiffusionClient
    model_id: str | None
    num_samples: int
    seed: int

    def behind(self, prefix: str, texts: Sequence[str]) -> list[float]:
        """The log-likelihood of each text behind the prefix, from as few requests as the server allows. A text has the
        same number in any of them.

        Raises:
            DiffusionError: the server refuses a text that is asked for alone, or cannot answer.
        """
        if len(texts) <= MAX_TEXTS:
            try:
                return self._ask(prefix, texts)
            except InvalidRequest as error:
                if len(texts) == 1 or not is_too_large(error):
                    raise
        middle = len(texts) // 2
        return [*self.behind(prefix, texts[:middle]), *self.behind(prefix, texts[middle:])]

    def whole(self, text: str, before: str = "") -> float:
        """The log-likelihood of a text of any length, behind the end of `before` that is at most as long as the text.

        What the server refuses as too long comes in two windows, the second behind the first.

        Raises:
            DiffusionError: the server refuses a single character, or cannot answer.
        """
        try:
            return self._ask(before[-len(text) :], [text])[0]
        except InvalidRequest as error:
            if len(text) == 1 or not is_too_large(error):
                raise
        first, second = halves(text)
        return self.whole(first, before) + self.whole(second, before + first)

    def _ask(self, prefix: str, texts: Sequence[str]) -> list[float]:
        answer = self.client.likelihood(
            texts, prefix=prefix, model_id=self.model_id, num_samples=self.num_samples, seed=self.seed
        )
        return [each["log_likelihood"] for each in answer["likelihoods"]]


def is_too_large(error: InvalidRequest) -> bool:
    """Whether a smaller request might be answered."""
    return any(each.field in SIZES for each in error.errors)


def halves(text: str) -> tuple[str, str]:
    """Cuts a text of two characters or more before the last space or line end of its second quarter, else in its
    middle. `"It was a truth"`: the middle is 7, and the space before it at 6 begins the second half."""
    middle = len(text) // 2
    border = max(text.rfind(space, max(1, middle // 2), middle + 1) for space in " \n")
    return (text[:border], text[border:]) if border > 0 else (text[:middle], text[middle:])


def moved_spaces(context: str, text: str) -> tuple[str, str]:
    """A context and its continuation, with the spaces at the end of the one at the beginning of the other: tokens of
    words begin with their space, and the harness's own models are asked so too."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + text
