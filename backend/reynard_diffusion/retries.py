"""Decides whether and when a refused call is made again."""

from __future__ import annotations

from reynard_diffusion.errors import DiffusionError, RateLimited, Unavailable


class Retries:
    """The retries of one call.

    Only refusals that name a time are retried, since the server has done no work for them.
    """

    def __init__(self, max_retries: int, max_wait_s: float) -> None:
        self._num_left = max_retries
        self._wait_left_s = max_wait_s

    def wait_s(self, error: DiffusionError) -> float:
        """The seconds to wait before the next try.

        Raises:
            DiffusionError: `error` itself, if there is no next try.
        """
        is_refusal = isinstance(error, RateLimited | Unavailable) and error.status is not None
        wait_s = error.retry_after_s
        if not is_refusal or wait_s is None or self._num_left <= 0 or wait_s > self._wait_left_s:
            raise error
        self._num_left -= 1
        self._wait_left_s -= wait_s
        return wait_s
