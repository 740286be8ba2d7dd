"""What is counted, for Prometheus. One object, made by the app, handed to who counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """All metrics of one app, in a registry of their own, so that two apps in one process (tests) do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Counter(
            "yarrr_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "yarrr_request_seconds", "Time to answer a request", ["route"], registry=self.registry
        )
        self.uploads = Counter("yarrr_uploads", "Uploads that ended, by how", ["state"], registry=self.registry)
        self.received_bytes = Counter("yarrr_received_bytes", "Bytes of uploads stored", registry=self.registry)
        self.running_uploads = Gauge("yarrr_running_uploads", "Uploads receiving bytes now", registry=self.registry)
        self.event_loop_lag = Gauge(
            "yarrr_event_loop_lag_seconds",
            "Longest time the event loop was late in the last minute",
            registry=self.registry,
        )
        self.jobs = Counter("yarrr_jobs", "Jobs that ended, by how", ["kind", "outcome"], registry=self.registry)
        self.job_seconds = Histogram(
            "yarrr_job_seconds",
            "Time one attempt at a job took",
            ["kind"],
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=self.registry,
        )
        self.queued_jobs = Gauge(
            "yarrr_queued_jobs", "Jobs that wait, run or have failed", ["kind", "state"], registry=self.registry
        )
        self.storage_failures = Counter(
            "yarrr_storage_failures", "Writes or flushes the disk refused", registry=self.registry
        )

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. The labels of a series are looked up once, not for every request."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:
            counter = self.requests.labels(method, route, str(status))
            series = self._series[key] = counter, self.request_seconds.labels(route)
        counter, histogram = series
        counter.inc()
        histogram.observe(seconds)

    def note_job(self, kind: str, outcome: str, seconds: float) -> None:
        """Count one attempt at a job: done, postponed or failed."""
        self.jobs.labels(kind, outcome).inc()
        self.job_seconds.labels(kind).observe(seconds)

    def text(self) -> bytes:
        """The text exposition format of Prometheus."""
        return generate_latest(self.registry)
