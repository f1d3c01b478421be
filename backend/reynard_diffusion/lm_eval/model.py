"""The model `reynard` of the harness: every number and text comes from a running server."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import warning_once
from tqdm import tqdm

from reynard_diffusion.lm_eval.generation import ended, foreign_words, parameters_of
from reynard_diffusion.lm_eval.limits import DEFAULT_SAMPLES, MAX_TEXT_CHARACTERS
from reynard_diffusion.lm_eval.scoring import Scorer, moved_spaces
from reynard_diffusion.options import DEFAULT_URL
from reynard_diffusion.sync_client import DiffusionClient

MAX_RETRIES, MAX_RETRY_WAIT_S = 100, 600.0
"""An evaluation waits where the server is full: it has hours, and nobody looks on."""

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


@register_model("reynard")
class ReynardLM(LM):
    """A model of a server. The arguments are those of `--model_args`.

    Args:
        base_url: the server. Its key, if it wants one, is `DIFFUSION_API_KEY` of the environment: arguments are
            written into results.
        model: the model's id; the server's default if absent.
        num_samples: masked copies of each text.
        seed: fixes masks and texts; the repetitions of a generation take the seeds behind it.
        num_concurrent: requests at a time, which share the server's passes.
        max_gen_toks: new tokens at most, where a task does not say.
        batch_size, max_batch_size, device: given by the harness to every model, and the server's own business.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        model: str | None = None,
        num_samples: int = DEFAULT_SAMPLES,
        seed: int = 0,
        num_concurrent: int = 8,
        max_gen_toks: int = 256,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__()
        key = os.environ.get("DIFFUSION_API_KEY", "")
        self._client = DiffusionClient(
            base_url, api_key=key, max_retries=MAX_RETRIES, max_retry_wait_s=MAX_RETRY_WAIT_S
        )
        self._model_id = None if model is None else str(model)
        self._scorer = Scorer(self._client, self._model_id, num_samples, seed)
        self._seed, self._num_concurrent, self._max_gen_toks = seed, num_concurrent, max_gen_toks

    def close(self) -> None:
        """Closes the connections to the server."""
        self._client.close()

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The bound on the log-likelihood of each continuation, and False: it says nothing of what is greedy."""
        groups: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for index, request in enumerate(requests):
            context, text = moved_spaces(*request.args)
            if text:
                groups[_fitting(context)].append((index, text))
        answers = [(0.0, False)] * len(requests)
        for (_, texts), scores in self._map(self._scores, list(groups.items()), disable_tqdm):
            for (index, _), score in zip(texts, scores, strict=True):
                answers[index] = (score, False)
                self.cache_hook.add_partial("loglikelihood", requests[index].args, answers[index])
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """The bound on the log-likelihood of each document, all of it."""
        answers = []
        for request, score in self._map(self._score_of_document, requests, disable_tqdm):
            answers.append(score)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, score)
        return answers

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text behind each context, greedy unless the task says otherwise."""
        answers = []
        for (request, _), text in self._map(self._text, self._with_seeds(requests), disable_tqdm):
            answers.append(text)
            self.cache_hook.add_partial("generate_until", request.args, text)
        return answers

    def _map(self, function: Callable[[T], R], items: Sequence[T], disable_tqdm: bool) -> Iterator[tuple[T, R]]:
        """Each item and what becomes of it, in order, several at a time."""
        with ThreadPoolExecutor(self._num_concurrent) as pool:
            results = tqdm(pool.map(function, items), total=len(items), disable=disable_tqdm)
            yield from zip(items, results, strict=True)

    def _scores(self, group: tuple[str, list[tuple[int, str]]]) -> list[float]:
        context, texts = group
        return self._scorer.behind(context, [text for _, text in texts])

    def _score_of_document(self, request: Instance) -> float:
        (document,) = request.args
        return self._scorer.whole(document) if document else 0.0

    def _with_seeds(self, requests: Sequence[Instance]) -> list[tuple[Instance, int]]:
        """The requests with a seed each; a context that comes again has the next one."""
        seen: Counter[str] = Counter()
        seeded = []
        for request in requests:
            seeded.append((request, self._seed + seen[request.args[0]]))
            seen[request.args[0]] += 1
        return seeded

    def _text(self, seeded: tuple[Instance, int]) -> str:
        request, seed = seeded
        context, given = request.args
        kwargs: dict[str, Any] = dict(normalize_gen_kwargs(given, self._max_gen_toks))
        if foreign := foreign_words(kwargs):
            warning_once(logger, f"the server has no parameters {', '.join(foreign)}; they are left out")
        parameters = {"seed": seed, "model_id": self._model_id, **parameters_of(kwargs)}
        asked: Any = {name: value for name, value in parameters.items() if value is not None}
        return ended(self._client.generate(_fitting(context), **asked).text, kwargs["until"])


def _fitting(context: str) -> str:
    """The end of a context that a request may have; the model sees less of it, as a rule."""
    if len(context) > MAX_TEXT_CHARACTERS:
        warning_once(logger, f"of contexts longer than {MAX_TEXT_CHARACTERS} characters the beginning is left out")
    return context[-MAX_TEXT_CHARACTERS:]
