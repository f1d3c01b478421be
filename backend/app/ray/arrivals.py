"""The bound on the requests of one ingress that are at one model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.services.diffusion.errors import Overloaded


class Arrivals:
    """Counts the requests of an ingress that are at a model, running or waiting, and refuses those above the limit.

    Serve bounds its queue too, but there a request waits until a replica has accepted it: of several that come at the
    same moment some would be refused though places are free.

    Args:
        places: requests that one replica denoises at a time.
        max_waiting: requests that may wait beside those.
    """

    def __init__(self, model_id: str, *, places: int, max_waiting: int) -> None:
        self._model_id = model_id
        self._places = places
        self._max_waiting = max_waiting
        self._num_present = 0

    @contextmanager
    def arrival(self, num_replicas: int) -> Iterator[None]:
        """Counts a request while it is at the model; one replica is reckoned with where none is there.

        Raises:
            Overloaded: as many are there as may.
        """
        num_places = self._places * max(num_replicas, 1)
        if self._num_present >= num_places + self._max_waiting:
            raise Overloaded(
                f"{self._num_present} requests are at model {self._model_id!r}, which is the limit "
                f"({num_places} places on its replicas, max_queued_requests={self._max_waiting}); try again later"
            )
        self._num_present += 1
        try:
            yield
        finally:
            self._num_present -= 1
