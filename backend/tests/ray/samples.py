"""Samples of the messages of replicas."""

from __future__ import annotations

from typing import Any

from app.services.diffusion.reports import DiffusionModelDetails, DiffusionStatistics


def details(model_id: str, *, is_available: bool = True, **more: Any) -> DiffusionModelDetails:
    facts: dict[str, Any] = {
        "name": model_id,
        "description": "",
        "max_length": 64,
        "device": "cpu",
        "memory_usage": 1.5,
        "capabilities": ["generate", "infill", "read"],
        "algorithms": ["confidence"],
        "parameters": {},
    }
    return DiffusionModelDetails(model_id=model_id, is_available=is_available, **facts | more)


def statistics(
    *, successful: int = 0, failed: int = 0, cancelled: int = 0, in_flight: int = 0, refused: int = 0, **more: Any
) -> DiffusionStatistics:
    num_finished = successful + failed + cancelled
    facts: dict[str, Any] = {
        "average_processing_time": 0.0,
        "total_tokens_generated": 0,
        "model_usage": {},
        "device_usage": {},
        "failures": {"timeout": failed} if failed else {},
        "refused_requests": refused,
        "refusals": {"invalid_parameters": refused} if refused else {},
        "error_rate": round(100 * failed / num_finished, 2) if num_finished else 0.0,
    }
    return DiffusionStatistics(
        total_requests=num_finished + in_flight,
        successful_requests=successful,
        failed_requests=failed,
        cancelled_requests=cancelled,
        requests_in_flight=in_flight,
        **facts | more,
    )
