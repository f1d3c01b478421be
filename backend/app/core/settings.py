"""The only reader of the environment and `.env`, and the only list of settings."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.parameters import PARAMETERS, DecodingName, field_of
from app.core.setting_types import HostName, KeyList, OriginList, QuantizationName, RateLimitText, StorageUrl

ENV_PREFIX = "DIFFUSION_"
ENV_FILE = ".env"
ENV_ENCODING = "utf-8-sig"
"""The encoding of `.env`: UTF-8, where an editor may have put a byte order mark before the first name."""
CLIENT_VARIABLES = frozenset({"DIFFUSION_URL", "DIFFUSION_API_KEY"})
"""The variables that only clients read: the server's URL, and the key that it wants."""

DeviceName = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


def _default_of(parameter: str, description: str) -> Any:
    """The setting that decides where a request leaves a parameter out."""
    return field_of(parameter, PARAMETERS[parameter].default, description)


class DiffusionConfig(BaseModel):
    """The settings of the service; they are immutable: an update makes a new configuration, or fails."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=()
    )

    enabled: bool = Field(True, description="Serve at all; false answers every request with 503.")
    default_model: str = Field("dreamon", description="Model that answers when a request names none.")
    device_preference: DeviceName = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    memory_threshold: float = Field(
        0.8, gt=0.0, le=1.0, description="Share of a device's memory in use above which auto passes over it."
    )
    model_memory_mb: int = Field(
        0, ge=0, le=10_000_000, description="Megabytes of weights that may be loaded; above, idle models leave. 0: any."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Arithmetic of the weights; auto: bfloat16 on CUDA and, of large models, on CPUs that have it.",
    )
    quantization: QuantizationName = Field(
        "auto",
        description="Of the layers' weights: none, int8 or nf4, which are a half and a quarter of bfloat16; auto: int8 "
        "for a large model that does not fit a CPU's memory otherwise.",
    )
    cpu_runtime: Literal["auto", "onnx", "torch"] = Field(
        "auto",
        description="On a CPU: onnx, ONNX Runtime, for small models; torch, PyTorch; auto: onnx where it works.",
    )
    dreamon_path: str = Field("", description="Folder or hub id of the dreamon checkpoint; empty: the embedded one.")
    llada_path: str = Field("", description="Folder or hub id of the llada checkpoint; empty: the embedded one.")
    extra_models: str = Field("", description="Further checkpoints: id=path or hub id, separated by commas.")
    adapters: str = Field("", description="LoRA adapters of models: id=base:path or hub id, separated by commas.")
    preload: Literal["all", "default"] = Field(
        "all", description="Models that are loaded at start: all, or the default one; others wait for their first use."
    )
    model_fallback: bool = Field(True, description="Let another model answer when the requested one cannot be had.")
    max_concurrent_requests: int = Field(3, ge=1, le=1024, description="Requests denoised at the same time.")
    max_queued_requests: int = Field(64, ge=0, le=100_000, description="Requests that may wait; more get 503.")
    timeout_seconds: float = Field(300.0, gt=0, le=86_400, description="Seconds from arrival to the answer.")
    keep_alive_seconds: float = Field(
        15.0, ge=0.05, le=3_600, description="Seconds of silence after which a stream gives a sign of life."
    )
    rate_limit: RateLimitText = Field("", description="Calls that one client may make, such as 60/minute; empty: any.")
    content_filter: str = Field("", description="Rules file of the content filter; empty: none.")
    decoding: DecodingName = _default_of("decoding", "Default of decoding: exact, or one of two approximations.")
    max_length: int = _default_of("max_length", "Default of max_length, in new tokens.")
    temperature: float = _default_of("temperature", "Default of temperature; 0 is greedy.")
    top_p: float = _default_of("top_p", "Default of top_p.")
    top_k: int = _default_of("top_k", "Default of top_k.")
    repetition_penalty: float = _default_of("repetition_penalty", "Default of repetition_penalty.")


RELOAD_SETTINGS = frozenset(
    {
        "device_preference",
        "memory_threshold",
        "dtype",
        "quantization",
        "cpu_runtime",
        "dreamon_path",
        "llada_path",
        "extra_models",
        "adapters",
    }
)
"""The settings that take effect when a model is loaded again."""


LOCATIONS = frozenset({"dreamon_path", "llada_path", "content_filter"})
"""The settings that hold a location; callers without the admin's rights are sent its last part only."""
LISTED_LOCATIONS = frozenset({"extra_models", "adapters"})
"""The settings that hold several locations, each as id=location, or id=base:location."""


class Settings(DiffusionConfig, BaseSettings):
    """Everything a deployment can set, as `DIFFUSION_<NAME>` in the environment or in `.env`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=ENV_FILE,
        env_file_encoding=ENV_ENCODING,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
    )

    host: HostName = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=1, le=65_535, description="Port to listen on.")
    admin_token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token of admin calls; empty: only direct loopback clients may make them.",
    )
    max_body_bytes: int = Field(
        4_194_304, ge=1_024, le=1_073_741_824, description="Largest request body in bytes; a larger one gets 413."
    )
    api_keys: KeyList = Field(
        SecretStr(""), description="Keys, separated by commas, of which a call must carry one; empty: none is needed."
    )
    rate_limit_storage: StorageUrl = Field(
        SecretStr("memory"), description="Where calls are counted: memory, or a Redis URL that several servers share."
    )
    cors_origins: OriginList = Field(
        "", description="Origins of web pages that may call the API, separated by commas; empty: only its own."
    )
    playground: bool = Field(True, description="Serve a page at / to try the models out.")
    client_timeout_seconds: float = Field(
        60.0, ge=1, le=3_600, description="Seconds that a client may take to send a request, or read nothing."
    )
    max_connections: int = Field(
        4096, ge=16, le=1_000_000, description="Open connections; requests on further ones get 503."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Literal["plain", "json"] = Field("plain", description="How a log line is written.")
    otel_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that gets traces; empty: none.",
    )
    ray_min_replicas: int = Field(1, ge=1, le=10_000, description="On Ray: replicas of each model at least.")
    ray_max_replicas: int = Field(2, ge=1, le=10_000, description="On Ray: replicas of each model at most.")
    ray_target_requests: float = Field(
        2.0, gt=0, le=1024, description="On Ray: requests per replica, running and waiting, above which others start."
    )
    ray_num_gpus: float = Field(0.0, ge=0, le=64, description="On Ray: GPUs of one replica; a fraction shares one.")
    ray_num_cpus: float = Field(1.0, ge=0, le=1024, description="On Ray: CPUs of one replica, and its threads.")
    ray_ingress_replicas: int = Field(1, ge=1, le=1_000, description="On Ray: processes that speak HTTP.")

    def service_config(self) -> DiffusionConfig:
        """The part of the settings that the service knows."""
        return DiffusionConfig(**{name: getattr(self, name) for name in DiffusionConfig.model_fields})


class WrongSetting(ValueError):
    """A setting is not allowed; the message has a line per setting with its name, its value and what is allowed."""


def load_settings(**given: Any) -> Settings:
    """The settings of this process; `given` wins over the environment and `.env`.

    Raises:
        WrongSetting: a value is not allowed, or `.env` cannot be read.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        raise WrongSetting("\n".join(map(_complaint, error.errors(include_url=False)))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSetting(f".env cannot be read: {error}; it must be a text file in UTF-8") from None


def unknown_settings() -> list[str]:
    """The names in the environment and in `.env` that look like settings but are misspelt, or of another version."""
    given = {name.upper() for name in (*os.environ, *dotenv_values(ENV_FILE, encoding=ENV_ENCODING))}
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | CLIENT_VARIABLES
    return sorted(name for name in given - known if name.startswith(ENV_PREFIX))


def _complaint(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    field = Settings.model_fields[name]
    value = "***" if field.annotation is SecretStr else repr(error["input"])
    allowed = error["msg"].removeprefix("Input should be ").partition(", unable to")[0]
    if error["type"] == "string_pattern_mismatch":
        allowed = str(field.description).rstrip(".")
    return f"{ENV_PREFIX}{name.upper()}={value} is not allowed; allowed: {allowed}"


def update_config(config: DiffusionConfig, changes: dict[str, Any]) -> DiffusionConfig:
    """A new configuration with some values changed, validated as a whole.

    Types are strict: unlike in the environment, neither a string nor `false` passes for a number.

    Raises:
        pydantic.ValidationError: a name is unknown or a value out of bounds; nothing has changed then.
    """
    return DiffusionConfig.model_validate({**config.model_dump(), **changes}, strict=True)
