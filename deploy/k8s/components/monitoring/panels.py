"""What the dashboards show: a table of panels, each with its queries.

What the sweeper looks up is shown by the one that leads, for a moment by two: hence ``max by``.
"""

from __future__ import annotations

from dataclasses import dataclass

BYTES, BYTES_A_SECOND, A_SECOND = "bytes", "Bps", "ops"
SECONDS, SHARE, NUMBER, REQUESTS = "s", "percentunit", "short", "reqps"

_RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Query:
    """One expression, and what its series are called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel; ``bad_above`` or ``bad_below`` colours it red there."""

    title: str
    meaning: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 8  # of 24
    is_number: bool = False  # the last value, not a line over time
    bad_above: float | None = None
    bad_below: float | None = None


@dataclass(frozen=True)
class Board:
    """One dashboard: rows of panels."""

    uid: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    has_repository: bool = False  # a choice of one


def number(title: str, meaning: str, unit: str, expression: str, legend: str = "",
           **more: float | int | None) -> Panel:  # fmt: skip
    """A panel of the last values."""
    queries = (Query(expression, legend),)
    return Panel(title, meaning, unit, queries, is_number=True, **{"width": 4, **more})  # type: ignore[arg-type]


def lines(title: str, meaning: str, unit: str, *queries: tuple[str, str]) -> Panel:
    """A panel of lines over time: pairs of expression and legend."""
    return Panel(title, meaning, unit, tuple(Query(*query) for query in queries))


def _quantile(quantile: float, metric: str, by: str, where: str = "") -> str:
    buckets = f"sum by (le, {by}) (rate({metric}_bucket{where}{_RATE}))"
    return f"histogram_quantile({quantile}, {buckets})"


def _errors(service: str, window: str = "$__rate_interval") -> str:
    requests = f'debfleet_http_requests_total{{service="{service}"'
    failed = f'sum(rate({requests},status="5xx"}}[{window}]))'
    return f"{failed} / (sum(rate({requests}}}[{window}])) > 0)"


_AGE = "time() - max by (repository) (debfleet_repository_last_sync_timestamp_seconds)"
_FREE = 'min(debfleet_store_disk_bytes{state="free"})'
_TOTAL = 'min(debfleet_store_disk_bytes{state="total"})'

FLEET = Board("debfleet-fleet", "debfleet: the fleet", (
    ("Are the mirrors fresh?", (
        number("Oldest sync", "Of all repositories, how long ago the last good sync was.", SECONDS,
               f"max({_AGE})", bad_above=26 * 3600),
        number("Syncs failing", "Repositories whose last sync failed.", NUMBER,
               "sum(max by (repository) (debfleet_repository_failed_syncs) > bool 0)", bad_above=1),
        number("Repositories", "How many there are.", NUMBER, "max(debfleet_repositories)"),
        number("Open tasks", "That run, and that wait for another.", NUMBER,
               "max by (state) (debfleet_tasks)", "{{state}}"),
        number("Processes", "With a recent heartbeat.", NUMBER,
               "max by (process) (debfleet_processes)", "{{process}}"),
        number("Quarantined, a day", "Jobs that took their workers down.", NUMBER,
               "sum(increase(debfleet_jobs_quarantined_total[24h]))", bad_above=1),
        lines("Stalest repositories", "The ten whose last good sync is longest ago.", SECONDS,
              (f"topk(10, {_AGE})", "{{repository}}")),
        lines("Failed syncs", "Since the last good one; ten repositories.", NUMBER,
              ("topk(10, max by (repository) (debfleet_repository_failed_syncs))",
               "{{repository}}")),
        lines("Packages", "In all latest versions.", NUMBER,
              ("sum(max by (repository) (debfleet_repository_packages))", "packages")),
    )),
    ("Does the work move?", (
        lines("Ready jobs", "That any worker could take.", NUMBER,
              ('max by (kind) (debfleet_queue_jobs{state="ready"})', "{{kind}}")),
        lines("Oldest ready job", "How long it has waited.", SECONDS,
              ("max by (kind) (debfleet_queue_oldest_ready_seconds)", "{{kind}}")),
        lines("Running and held jobs", "Held: for another task, a host, a pause.", NUMBER,
              ('sum by (state) (max by (kind, state) (debfleet_queue_jobs{state!="ready"}))',
               "{{state}}")),
        lines("Jobs done", "Attempts that ended well.", A_SECOND,
              (f'sum by (kind) (rate(debfleet_jobs_total{{outcome="done"}}{_RATE}))', "{{kind}}")),
        lines("Jobs not done", "All other ends; most are tried again.", A_SECOND,
              (f'sum by (outcome) (rate(debfleet_jobs_total{{outcome!="done"}}{_RATE}))',
               "{{outcome}}")),
        lines("Duration of a job", "95 of 100 are shorter.", SECONDS,
              (_quantile(0.95, "debfleet_job_duration_seconds", "kind"), "{{kind}}")),
        lines("Busy workers", "Jobs in the hands of workers.", NUMBER,
              ("sum by (kind) (debfleet_jobs_in_progress)", "{{kind}}")),
        lines("Leases and messages", "What died, was taken over, or was rung again.", A_SECOND,
              (f"sum(rate(debfleet_leases_expired_total{_RATE}))", "leases expired"),
              (f"sum(rate(debfleet_leases_lost_total{_RATE}))", "leases lost"),
              (f"sum(rate(debfleet_jobs_rung_again_total{_RATE}))", "rung again"),
              (f'sum(rate(debfleet_rings_total{{outcome="failed"}}{_RATE}))', "rings failed")),
        lines("Sweeps", "Rounds of all sweepers; one leads.", A_SECOND,
              (f"sum by (outcome) (rate(debfleet_sweeps_total{_RATE}))", "{{outcome}}"),
              (f"sum(rate(debfleet_rings_total{_RATE}))", "rings")),
    )),
    ("Is there room?", (
        lines("Store", "Its files, and the free space of its disk (a directory store).", BYTES,
              ("max(debfleet_store_artifact_bytes)", "files"), (_FREE, "free")),
        lines("Database connections", "Of each pool's most, over all processes.", SHARE,
              ("sum by (pool) (debfleet_db_connections_in_use)"
               " / sum by (pool) (debfleet_db_connections_max)", "{{pool}}")),
        lines("Wait for a connection", "95 of 100 are shorter.", SECONDS,
              (_quantile(0.95, "debfleet_db_wait_seconds", "pool"), "{{pool}}")),
    )),
))  # fmt: skip


def _of_one(name: str) -> str:
    return f'max(debfleet_repository_{name}{{repository="$repository"}})'


REPOSITORY = Board("debfleet-repository", "debfleet: one repository", (
    ("$repository", (
        number("Last good sync", "How long ago.", SECONDS,
               f"time() - {_of_one('last_sync_timestamp_seconds')}", bad_above=26 * 3600),
        number("Failed since", "Syncs in vain since that one.", NUMBER,
               _of_one("failed_syncs"), bad_above=1),
        number("Packages", "In the latest version.", NUMBER, _of_one("packages")),
        number("Upstream's date", "Age of the newest Release file.", SECONDS,
               f"time() - {_of_one('upstream_date_timestamp_seconds')}"),
        number("Valid for", "Until the first Release file expires; none where upstream says none.",
               SECONDS, f"{_of_one('upstream_valid_until_timestamp_seconds')} - time()",
               bad_below=86400),
        lines("Age of the last good sync", "It falls to 0 with each.", SECONDS,
              (f"time() - {_of_one('last_sync_timestamp_seconds')}", "age")),
        lines("Packages over time", "In the latest version.", NUMBER,
              (_of_one("packages"), "packages")),
        lines("Failed syncs over time", "Since the last good one.", NUMBER,
              (_of_one("failed_syncs"), "failed")),
    )),
), has_repository=True)  # fmt: skip

UPSTREAMS = Board("debfleet-upstreams", "debfleet: upstreams", (
    ("What comes in", (
        lines("Bytes", "By host.", BYTES_A_SECOND,
              (f"sum by (host) (rate(debfleet_upstream_bytes_total{_RATE}))", "{{host}}")),
        lines("Files", "Fetched and right.", A_SECOND,
              (f'sum by (host) (rate(debfleet_upstream_files_total{{outcome="fetched"}}{_RATE}))',
               "{{host}}")),
        lines("Files not had", "Missing (404, 410), or failed after all tries.", A_SECOND,
              ("sum by (host, outcome) (rate(debfleet_upstream_files_total"
               f'{{outcome!="fetched"}}{_RATE}))', "{{host}} {{outcome}}")),
    )),
    ("What goes wrong", (
        lines("Retries", "By cause.", A_SECOND,
              (f"sum by (cause) (rate(debfleet_upstream_retries_total{_RATE}))", "{{cause}}")),
        lines("Wrong bytes", "Answers that are not what the signed index promises.", A_SECOND,
              (f"sum by (host) (rate(debfleet_upstream_digest_failures_total{_RATE}))",
               "{{host}}")),
        lines("Told to wait", "429 and 503: the whole fleet leaves the host alone.", A_SECOND,
              (f"sum by (host) (rate(debfleet_upstream_closings_total{_RATE}))", "{{host}}")),
        lines("Gone", "Files of versions that are not stored, and that no remote has any more.",
              NUMBER, ("max(debfleet_gone_files)", "files")),
    )),
    ("How old it is", (
        lines("Upstream's date", "Age of the newest Release file; ten repositories.", SECONDS,
              ("topk(10, time() - max by (repository)"
               " (debfleet_repository_upstream_date_timestamp_seconds))", "{{repository}}")),
        lines("Valid for", "The ten that expire first.", SECONDS,
              ("bottomk(10, min by (repository)"
               " (debfleet_repository_upstream_valid_until_timestamp_seconds) - time())",
               "{{repository}}")),
        lines("Guards met", "refuse failed the sync; warn let it through with a report.", A_SECOND,
              (f"sum by (guard, level) (rate(debfleet_guards_met_total{_RATE}))",
               "{{guard}} {{level}}")),
    )),
))  # fmt: skip


def _serving(service: str, title: str, *more: Panel) -> tuple[str, tuple[Panel, ...]]:
    requests = f'debfleet_http_requests_total{{service="{service}"}}'
    seconds, where = "debfleet_http_request_duration_seconds", f'{{service="{service}"}}'
    in_flight = f'sum(debfleet_http_requests_in_flight{{service="{service}"}})'
    return title, (
        lines("Requests", "By class of status; other: cut off.", REQUESTS,
              (f"sum by (status) (rate({requests}{_RATE}))", "{{status}}")),
        lines("Errors", "The share of 5xx.", SHARE, (_errors(service), "5xx")),
        lines("Duration", "Of all requests.", SECONDS,
              (_quantile(0.5, seconds, "service", where), "half"),
              (_quantile(0.95, seconds, "service", where), "95 of 100"),
              (_quantile(0.99, seconds, "service", where), "99 of 100")),
        lines("By route", "The ten most asked for.", REQUESTS,
              (f"topk(10, sum by (route) (rate({requests}{_RATE})))", "{{route}}")),
        lines("In flight", "Being answered now.", NUMBER, (in_flight, "requests")),
        *more,
    )  # fmt: skip


SERVING = Board("debfleet-serving", "debfleet: serving", (
    _serving("content", "apt's view: the content service",
             lines("Bytes sent", "From the store, or straight from upstream.", BYTES_A_SECOND,
                   (f"sum by (source) (rate(debfleet_content_sent_bytes_total{_RATE}))",
                    "{{source}}"))),
    _serving("api", "The API"),
))  # fmt: skip

BOARDS = (FLEET, REPOSITORY, UPSTREAMS, SERVING)
