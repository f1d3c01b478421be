"""Counters and histograms, in a registry of their own, so that two apps in one process do not clash."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.process_collector import ProcessCollector

from app.api.errors.table import INTERNAL_CODE, PROBLEMS
from app.services.diffusion.errors import GenerationCancelled, Refusal, ServiceError
from app.services.diffusion.requests.stats import Outcome, RunReport

WAITING_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
TOKENS_PER_FORWARD_BUCKETS = (0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 16)
FAILURE_CODES = {INTERNAL_CODE} | {
    error.code
    for error in PROBLEMS
    if issubclass(error, ServiceError) and not issubclass(error, Refusal | GenerationCancelled)
}


class RequestInstruments:
    """Counts what is known when a request has ended. `model` is the one that answered; empty: none was chosen."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        whole = ("operation", "model", "outcome")
        self._requests = counter("reynard_requests", "Requests that have ended, by outcome.", whole)
        self._durations = histogram(
            "reynard_request_duration_seconds", "From arrival to end.", whole, buckets=DURATION_BUCKETS_S
        )
        self._failures = counter("reynard_request_failures", "Failed requests, by code of the error.", ("code",))
        for code in FAILURE_CODES:  # an increase from nothing is none to Prometheus: the first failure would go unseen
            self._failures.labels(code)
        self._queue_times = histogram(
            "reynard_queue_time_seconds",
            "From arrival to the begin of denoising.",
            ("model",),
            buckets=WAITING_BUCKETS_S,
        )
        self._first_texts = histogram(
            "reynard_time_to_first_text_seconds",
            "From arrival to the first final text.",
            ("operation", "model"),
            buckets=WAITING_BUCKETS_S,
        )
        self._tokens_per_forward = histogram(
            "reynard_tokens_per_forward",
            "New tokens of a successful request, divided by its denoising steps.",
            ("model",),
            buckets=TOKENS_PER_FORWARD_BUCKETS,
        )
        self._tokens = counter("reynard_generated_tokens", "New tokens, of unfinished answers too.", ("model",))
        self._steps = counter("reynard_denoising_steps", "Denoising steps, of unfinished answers too.", ("model",))
        self._fallbacks = counter(
            "reynard_model_fallbacks",
            "Requests that were answered by another model than the one that was asked.",
            ("requested", "answered"),
        )

    def count(self, report: RunReport) -> None:
        """Observes the service. A request that was refused for its caller's mistake has only its work counted here."""
        if report.outcome is not Outcome.REFUSED:
            self._count_end(report)
        if report.model_id:
            self._count_work(report)

    def _count_end(self, report: RunReport) -> None:
        labels = (report.operation, report.model_id, report.outcome.value)
        self._requests.labels(*labels).inc()
        self._durations.labels(*labels).observe(report.processing_time_s)
        if report.outcome is Outcome.FAILED:
            self._failures.labels(report.code or INTERNAL_CODE).inc()

    def _count_work(self, report: RunReport) -> None:
        model_id, num_steps = report.model_id, report.num_denoising_steps
        self._tokens.labels(model_id).inc(report.num_tokens)
        self._steps.labels(model_id).inc(num_steps)
        if report.queue_time_s is not None:
            self._queue_times.labels(model_id).observe(report.queue_time_s)
        if report.first_text_s is not None:
            self._first_texts.labels(report.operation, model_id).observe(report.first_text_s)
        if report.outcome is Outcome.SUCCESSFUL and num_steps > 0:
            self._tokens_per_forward.labels(model_id).observe(report.num_tokens / num_steps)
        if report.requested_model != model_id:
            self._fallbacks.labels(report.requested_model, model_id).inc()


class Instruments:
    """All counters and histograms that last from scrape to scrape. They belong to the event loop.

    Labels take few values: ids of models, codes, templates of routes; nothing that a client makes up becomes one.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = RequestInstruments(self.registry)
        self._answers = Counter(
            "reynard_http_responses",
            "HTTP answers, by template of the route (empty: no such path) and class of the status.",
            ("route", "status"),
            registry=self.registry,
        )
        self._lags = Histogram(
            "reynard_event_loop_lag_seconds",
            "How late the event loop was for an appointment; it has one every half second.",
            buckets=LAG_BUCKETS_S,
            registry=self.registry,
        )

    def count_answer(self, *, route: str, status: int) -> None:
        self._answers.labels(route, f"{status // 100}xx").inc()

    def note_lag(self, lag_s: float) -> None:
        self._lags.observe(lag_s)
