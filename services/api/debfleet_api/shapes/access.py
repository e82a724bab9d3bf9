"""Users, groups, roles and what was granted; content guards."""

from __future__ import annotations

from datetime import datetime

from debfleet_api.shapes.base import Href, Part, Shown, Thinned
from debfleet_api.shapes.repositories import HiddenField


class UserGroup(Part, title="UserGroupResponse"):
    """A group that a user is in."""

    name: str
    pulp_href: Href
    prn: str


class User(Thinned, title="UserResponse"):
    """Who may log in."""

    pulp_href: Href
    prn: str
    id: int
    username: str
    first_name: str
    last_name: str
    email: str
    is_staff: bool
    is_active: bool
    date_joined: datetime
    groups: list[UserGroup]
    hidden_fields: list[HiddenField]


class Group(Thinned, title="GroupResponse"):
    """Users who share roles."""

    name: str
    pulp_href: Href
    prn: str
    id: int


class GroupUser(Thinned, title="GroupUserResponse"):
    """A user in a group."""

    username: str
    pulp_href: Href
    prn: str


class Role(Shown, title="RoleResponse"):
    """A named set of permissions."""

    name: str
    description: str | None
    permissions: list[str]
    locked: bool


class _Grant(Shown):
    role: str
    content_object: Href | None
    content_object_prn: str | None
    description: str | None
    permissions: list[str]
    domain: Href | None


class UserRole(_Grant, title="UserRoleResponse"):
    """A role that was given to a user."""


class GroupRole(_Grant, title="GroupRoleResponse"):
    """A role that was given to a group."""


class NestedRole(Part, title="NestedRoleResponse"):
    """A role on an object, and who has it."""

    role: str
    users: list[str]
    groups: list[str]


class ObjectRoles(Part, title="ObjectRolesResponse"):
    """The roles on an object."""

    roles: list[NestedRole]


class MyPermissions(Part, title="MyPermissionsResponse"):
    """What the user who asks may do to an object."""

    permissions: list[str]


class BaseGuard(Shown, title="ContentGuardResponse"):
    """A content guard of any type."""

    name: str
    description: str | None


class RbacGuard(BaseGuard, title="RBACContentGuardResponse"):
    """A guard that asks for a login."""

    users: list[GroupUser]
    groups: list[Group]


class HeaderGuard(BaseGuard, title="HeaderContentGuardResponse"):
    """A guard that asks for a header."""

    header_name: str
    header_value: str
    jq_filter: str | None
