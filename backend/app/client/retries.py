"""Whether a refused call is made once more, and when."""

from __future__ import annotations

from app.client.errors import DiffusionError, RateLimited, Unavailable


class Retries:
    """Of one call. Only refusals that name a time are worth another try: the server has done nothing for them yet."""

    def __init__(self, max_retries: int, max_wait_s: float) -> None:
        self._num_left = max_retries
        self._wait_left_s = max_wait_s

    def wait_s(self, error: DiffusionError) -> float:
        """Seconds to wait before the next try.

        Raises:
            DiffusionError: `error` itself, where there is no next try.
        """
        is_refusal = isinstance(error, RateLimited | Unavailable) and error.status is not None
        wait_s = error.retry_after_s
        if not is_refusal or wait_s is None or self._num_left <= 0 or wait_s > self._wait_left_s:
            raise error
        self._num_left -= 1
        self._wait_left_s -= wait_s
        return wait_s
