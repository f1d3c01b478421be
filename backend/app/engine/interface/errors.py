"""Errors of the engine.

EngineError
├── InvalidRequest      a request that this engine or checkpoint cannot run as it stands
├── CheckpointError     a checkpoint folder that is damaged, incomplete or of an unknown kind
├── QueueFull           the bounded waiting queue has no room
├── OutOfDeviceMemory   a step did not fit the device
├── DeviceBroken        the device does nothing more for this process
├── LogitsNotFinite     the model gave NaN or infinity for one request
└── EngineStopped       the engine thread has ended, or its step failed
"""


class EngineError(Exception):
    """Root of everything that the engine raises on purpose."""


class InvalidRequest(EngineError):
    """A request that this engine or checkpoint cannot run as it stands.

    Attributes:
        field: the parameter at fault, by its name in `DecodingParams`.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class CheckpointError(EngineError):
    """A checkpoint folder that is damaged, incomplete or of an unknown kind."""


class QueueFull(EngineError):
    """The bounded waiting queue has no room."""


class OutOfDeviceMemory(EngineError):
    """A step did not fit into the memory of the device."""


class DeviceBroken(EngineError):
    """The device does nothing more for this process: only another process can use it again."""


class LogitsNotFinite(EngineError):
    """The model gave logits for one request that are no numbers: NaN or infinity."""


class EngineStopped(EngineError):
    """The engine thread has ended, or its step failed."""
