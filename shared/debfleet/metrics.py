"""Every metric: its name, its labels, its meaning, and who writes it. One table, ``TABLE``.

A process writes through the constants here; ``start`` shows those of its kind from 0 on, so that a
rate is never missing for want of a first event. What stands in Postgres is not written but looked
up, by the sweeper that leads (``debfleet.db.observations``).

No label's values may grow without bound: kinds and outcomes are listed here, a route is a template,
a host one of the first hundred (``host_label``), a repository one of the first 5,000.
"""

from __future__ import annotations

from debfleet.guards import GUARDS
from debfleet.measure import LONG, OTHER, Metric
from debfleet.model import KINDS

STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
JOB_OUTCOMES = ("done", "failed", "again", "put_off", "rotated", "lost", "unsaid")
FILE_OUTCOMES = ("fetched", "missing", "failed")
RETRY_CAUSES = ("connection", "timeout", "status", "digest", "size")
JOB_STATES = ("ready", "held", "running")

_SERVING = ("api", "content")
_FETCHING = ("worker", "content")
_ALL = ("api", "content", "worker", "sweep")
_RINGING = ("api", "worker", "sweep")

HTTP_REQUESTS = Metric(
    "counter", "debfleet_http_requests_total",
    "Requests answered, by the template of their route and the class of their status.",
    _SERVING, {"service": (), "method": (), "route": (), "status": ()},
)  # fmt: skip
HTTP_SECONDS = Metric(
    "histogram", "debfleet_http_request_duration_seconds",
    "From a request's headers to the last byte of its answer.",
    _SERVING, {"service": (), "route": ()},
)  # fmt: skip
HTTP_IN_FLIGHT = Metric(
    "gauge", "debfleet_http_requests_in_flight", "Requests being answered now.",
    _SERVING, {"service": ()},
)  # fmt: skip
SENT_BYTES = Metric(
    "counter", "debfleet_content_sent_bytes_total",
    "Bytes of files sent to clients: out of the store, or straight from upstream (on_demand and "
    "streamed).",
    ("content",), {"source": ("store", "upstream")},
)  # fmt: skip
JOBS = Metric(
    "counter", "debfleet_jobs_total",
    "Attempts at jobs that ended: done; failed (its task too); again (something of ours was "
    "broken) and put_off (upstream wants a pause), both tried later; rotated (upstream changed, "
    "the sync is planned anew); lost (another worker has it); unsaid (the database was away).",
    ("worker",), {"kind": KINDS, "outcome": JOB_OUTCOMES},
)  # fmt: skip
JOB_SECONDS = Metric(
    "histogram", "debfleet_job_duration_seconds", "How long one attempt at a job took.",
    ("worker",), {"kind": KINDS}, LONG,
)  # fmt: skip
JOBS_IN_PROGRESS = Metric(
    "gauge", "debfleet_jobs_in_progress", "Jobs that workers run now.", ("worker",),
    {"kind": KINDS},
)  # fmt: skip
GUARDS_MET = Metric(
    "counter", "debfleet_guards_met_total",
    "What the guards of remotes are against and met: refuse (the sync failed) or warn (it went on, "
    "and reports it).",
    ("worker",), {"guard": tuple(GUARDS), "level": ("warn", "refuse")},
)  # fmt: skip
LEASES_LOST = Metric(
    "counter", "debfleet_leases_lost_total",
    "Jobs that a worker had to drop: canceled, taken over, or the worker was cut off.",
    ("worker",), {"kind": KINDS},
)  # fmt: skip
UPSTREAM_FILES = Metric(
    "counter", "debfleet_upstream_files_total",
    "Files asked of upstream hosts: fetched (and right), missing (404, 410), failed (after all "
    "tries).",
    _FETCHING, {"host": (), "outcome": ()},
)  # fmt: skip
UPSTREAM_BYTES = Metric(
    "counter", "debfleet_upstream_bytes_total", "Bytes that came from upstream hosts.",
    _FETCHING, {"host": ()},
)  # fmt: skip
UPSTREAM_RETRIES = Metric(
    "counter", "debfleet_upstream_retries_total",
    "Requests tried again, by cause: connection, timeout, status (429, 5xx), digest, size.",
    _FETCHING, {"host": (), "cause": ()},
)  # fmt: skip
UPSTREAM_DIGESTS = Metric(
    "counter", "debfleet_upstream_digest_failures_total",
    "Answers with other bytes than the signed index promises; a few while upstream is updated.",
    _FETCHING, {"host": ()},
)  # fmt: skip
UPSTREAM_CLOSINGS = Metric(
    "counter", "debfleet_upstream_closings_total",
    "Times that a host answered 429 or 503, so that the whole fleet left it alone for a while.",
    _FETCHING, {"host": ()},
)  # fmt: skip
RINGS = Metric(
    "counter", "debfleet_rings_total",
    "Jobs that were made known to workers; failed: the broker did not take it, the sweeper rings "
    "again.",
    _RINGING, {"outcome": ("sent", "failed")},
)  # fmt: skip
SWEEPS = Metric(
    "counter", "debfleet_sweeps_total",
    "Rounds of a sweeper: led; stood_by (another one leads); failed (the database was away).",
    ("sweep",), {"outcome": ("led", "stood_by", "failed")},
)  # fmt: skip
SWEEP_SECONDS = Metric(
    "histogram", "debfleet_sweep_duration_seconds", "How long a round of the sweeper that leads "
    "took.", ("sweep",),
)  # fmt: skip
LEASES_EXPIRED = Metric(
    "counter", "debfleet_leases_expired_total",
    "Leases that ran out because their worker died or hung; the job is tried again.", ("sweep",),
)  # fmt: skip
QUARANTINED = Metric(
    "counter", "debfleet_jobs_quarantined_total",
    "Jobs given up because they took their worker down each time; their tasks failed.",
    ("sweep",), {"kind": KINDS},
)  # fmt: skip
LEADS = Metric(
    "gauge", "debfleet_sweep_leads", "1 where this sweeper leads.", ("sweep",),
)  # fmt: skip
RUNG_AGAIN = Metric(
    "counter", "debfleet_jobs_rung_again_total",
    "Jobs whose message was lost, or that no worker had time for.", ("sweep",),
)  # fmt: skip
DB_IN_USE = Metric(
    "gauge", "debfleet_db_connections_in_use", "Connections of a pool that are in use now.",
    _ALL, {"pool": ()},
)  # fmt: skip
DB_MOST = Metric(
    "gauge", "debfleet_db_connections_max", "Connections that a pool may have.", _ALL,
    {"pool": ()},
)  # fmt: skip
DB_WAIT = Metric(
    "histogram", "debfleet_db_wait_seconds", "How long a transaction waited for its connection.",
    _ALL, {"pool": ()},
)  # fmt: skip
BUILD = Metric(
    "gauge", "debfleet_processes_started", "1 for each process, with its kind and version.",
    _ALL, {"process": (), "version": ()},
)  # fmt: skip

# --- looked up, not written: in Postgres by the sweeper that leads, and on the store's disk -------


def _looked_up(name: str, meaning: str, *labels: str) -> Metric:
    return Metric("gauge", name, meaning, ("sweep",), dict.fromkeys(labels, ()), is_written=False)


QUEUE_JOBS = _looked_up(
    "debfleet_queue_jobs",
    "Open jobs: ready (any worker may take it), held (it waits for another task, for its host or "
    "for a pause), running.",
    "kind", "state",
)  # fmt: skip
QUEUE_AGE = _looked_up(
    "debfleet_queue_oldest_ready_seconds", "How long the oldest ready job has waited; 0: none.",
    "kind",
)  # fmt: skip
TASKS = _looked_up("debfleet_tasks", "Tasks that have not ended.", "state")
PROCESSES = _looked_up("debfleet_processes", "Processes with a recent heartbeat.", "process")
REPOSITORIES = _looked_up("debfleet_repositories", "Repositories there are.")
SYNCED = _looked_up(
    "debfleet_repository_last_sync_timestamp_seconds",
    "When a sync of the repository last succeeded, also one that changed nothing.", "repository",
)  # fmt: skip
FAILED_SYNCS = _looked_up(
    "debfleet_repository_failed_syncs", "Failed syncs since the last that succeeded.", "repository"
)
PACKAGES = _looked_up(
    "debfleet_repository_packages", "Packages in the latest version.", "repository"
)
UPSTREAM_DATE = _looked_up(
    "debfleet_repository_upstream_date_timestamp_seconds",
    "Date of the newest upstream Release file in the latest version.", "repository",
)  # fmt: skip
VALID_UNTIL = _looked_up(
    "debfleet_repository_upstream_valid_until_timestamp_seconds",
    "The earliest Valid-Until of the upstream Release files in the latest version; absent where "
    "none has one.",
    "repository",
)  # fmt: skip
ARTIFACTS = _looked_up("debfleet_store_artifacts", "Files in the store.")
ARTIFACT_BYTES = _looked_up("debfleet_store_artifact_bytes", "Their size in bytes.")
GONE_FILES = _looked_up(
    "debfleet_gone_files",
    "Files of repository versions that are not stored, and that no remote has any more.",
)
DISK = Metric(
    "gauge", "debfleet_store_disk_bytes",
    "Bytes of the disk that the store is on, where it is a directory: free, and in all.",
    _ALL, {"state": ("free", "total")}, is_written=False,
)  # fmt: skip
OBSERVED = _looked_up(
    "debfleet_observed_timestamp_seconds",
    "When the sweeper that leads last looked up what stands in Postgres.",
)

TABLE: tuple[Metric, ...] = tuple(m for m in dict(globals()).values() if isinstance(m, Metric))


def start(process: str, version: str) -> None:
    """Show the metrics that this kind of process writes."""
    for metric in TABLE:
        if process in metric.by and metric.is_written:
            metric.show()
    if process == "content":
        for route in ("dists", "pool", "file", "listing", "key"):
            HTTP_REQUESTS.add(0, service=process, method="GET", route=route, status="2xx")
    if process in _SERVING:
        HTTP_IN_FLIGHT.add(0, service=process)
        for status in STATUSES:
            HTTP_REQUESTS.add(0, service=process, method="GET", route=OTHER, status=status)
    BUILD.set(1, process=process, version=version)


def show_host(host: str) -> None:
    """What upstream may do wrong, with 0, once this process asks the host at all."""
    UPSTREAM_BYTES.add(0, host=host)
    UPSTREAM_DIGESTS.add(0, host=host)
    UPSTREAM_CLOSINGS.add(0, host=host)
    for outcome in FILE_OUTCOMES:
        UPSTREAM_FILES.add(0, host=host, outcome=outcome)
    for cause in RETRY_CAUSES:
        UPSTREAM_RETRIES.add(0, host=host, cause=cause)
