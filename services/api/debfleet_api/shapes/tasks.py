"""Tasks, who does them, and the state of the whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from debfleet_api.shapes.base import Href, Labels, Part, Shown, Thinned


class Progress(Part, title="ProgressReportResponse"):
    """How far one part of a task is."""

    message: str
    code: str
    state: str
    total: int | None
    done: int
    suffix: str | None


class MinimalTask(Shown, title="MinimalTaskResponse"):
    """A task without what came of it."""

    name: str
    state: str
    unblocked_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: Href | None
    pulp_api_version: str


class Task(MinimalTask, title="TaskResponse"):
    """What was asked for, how far it is, what came of it."""

    logging_cid: str
    created_by: Href | None
    error: dict[str, Any] | None
    parent_task: Href | None
    child_tasks: list[Href]
    task_group: Href | None
    progress_reports: list[Progress]
    created_resources: list[str]
    created_resource_prns: list[str]
    reserved_resources_record: list[str]
    result: Any


class GroupProgress(Part, title="GroupProgressReportResponse"):
    """How far one part of a group is."""

    message: str
    code: str
    total: int | None
    done: int
    suffix: str | None


class TaskGroup(Shown, title="TaskGroupResponse"):
    """Tasks that were started by one call, and how many of them are in which state."""

    description: str
    all_tasks_dispatched: bool
    waiting: int
    skipped: int
    running: int
    completed: int
    canceled: int
    failed: int
    canceling: int
    group_progress_reports: list[GroupProgress]
    tasks: list[MinimalTask]


class ProfileArtifacts(Part, title="TaskProfileArtifactsResponse"):
    """Where profiles of a task can be fetched: tasks are not profiled."""

    urls: dict[str, str]


class Tolerance(Thinned):
    """Something that upstream listed and the version does not hold."""

    reason: str
    file: str | None
    line: int | None
    detail: str | None


class Worker(Shown, title="WorkerResponse"):
    """A process that does tasks."""

    name: str
    last_heartbeat: datetime
    versions: dict[str, str]
    current_task: Href | None


class AppVersion(Part, title="VersionResponse"):
    """One component of the server."""

    component: str
    version: str
    package: str
    module: str
    domain_compatible: bool


class AppStatus(Part, title="AppStatusResponse"):
    """One living process."""

    name: str
    last_heartbeat: datetime
    versions: dict[str, str]


class Connection(Part, title="DatabaseConnectionResponse"):
    """Whether the database answers."""

    connected: bool


class RedisConnection(Part, title="RedisConnectionResponse"):
    """No part of debfleet uses Redis."""

    connected: bool


class Storage(Part, title="StorageResponse"):
    """Bytes of the disk that the store is on."""

    total: int
    used: int
    free: int


class Readiness(Part):
    """Whether requests can be answered, and by what not."""

    ready: bool
    database: bool
    store: bool


class ContentSettings(Part, title="ContentSettingsResponse"):
    """Where content is served."""

    content_origin: str | None
    content_path_prefix: str


class Domain(Shown, title="DomainResponse"):
    """The one domain."""

    name: str
    description: str | None
    pulp_labels: Labels
    storage_class: str
    storage_settings: dict[str, Any]
    redirect_to_object_storage: bool
    hide_guarded_distributions: bool
    default_content_guard: Href | None
    default_content_guard_prn: str | None


class Status(Part, title="StatusResponse"):
    """Who is alive, and what is reached."""

    versions: list[AppVersion]
    online_workers: list[AppStatus]
    online_api_apps: list[AppStatus]
    online_content_apps: list[AppStatus]
    database_connection: Connection
    redis_connection: RedisConnection
    storage: Storage | None
    content_settings: ContentSettings
    domain_enabled: bool
