"""What shapes are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Href = Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
Labels = dict[str, str | None]


class Part(BaseModel):
    """An object inside another; all of its keys are always there."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Thinned(BaseModel):
    """An object of which ``fields`` and ``exclude_fields`` may leave any part."""


class Shown(Thinned):
    """What every object has."""

    pulp_href: Href
    prn: str
    pulp_created: datetime
    pulp_last_updated: datetime


class AsyncOperation(Part, title="AsyncOperationResponse"):
    """A task was started."""

    task: Href


class TaskGroupOperation(Part, title="TaskGroupOperationResponse"):
    """A group of tasks was started."""

    task_group: Href


class Label(Part, title="SetLabelResponse"):
    """A label."""

    key: str
    value: str | None


class RemovedLabel(Part, title="UnsetLabelResponse"):
    """A label that was removed."""

    key: str
    value: str | None


class Anything(Part, title="Anything"):
    """An object whose keys are not listed here."""

    model_config = ConfigDict(extra="allow")


Json = Any
