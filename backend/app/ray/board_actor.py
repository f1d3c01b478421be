"""The board as an actor. It stands alone, for its process imports what stands beside it, and Serve takes 60 MB."""

from __future__ import annotations

import warnings

import ray

from app.ray.board import Board


class BoardActor(Board):
    """A board in a process of its own."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray asks itself by a name that it has given up
            is_successor = ray.get_runtime_context().was_current_actor_reconstructed
        super().__init__(is_successor=is_successor)
