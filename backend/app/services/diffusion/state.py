"""The configuration of the moment, and whether the service answers under it."""

from __future__ import annotations

from app.core.settings import DiffusionConfig
from app.services.diffusion.errors import ServiceDisabled


class ServiceState:
    """Belongs to one event loop. The service changes it; whoever else holds it only reads.

    Attributes:
        config: settings as they are now, whether they are in force or not.
        is_ending: nobody should send more requests.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config
        self.is_initialized = False
        self.is_ending = False

    def current(self) -> DiffusionConfig:
        """The configuration; models are built by it also while no request is answered."""
        return self.config

    def in_force(self) -> DiffusionConfig:
        """The configuration that a request is answered under.

        Raises:
            ServiceDisabled: none is answered now.
        """
        if not self.config.enabled:
            raise ServiceDisabled("the service is disabled; set enabled=true to use it")
        if not self.is_initialized:
            raise ServiceDisabled("the service is not initialised; await service.initialize() first")
        return self.config
