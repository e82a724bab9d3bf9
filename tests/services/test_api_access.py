"""Users, groups, roles and content guards: who may do what over the API."""

from __future__ import annotations

from typing import Any

import pytest

from api_client import (
    NOWHERE,
    REMOTES,
    REPOSITORIES,
    V3,
    ApiClient,
    a_name,
    made,
    refused,
    remote_fields,
)
from debfleet_api.auth import OPEN_BLUEPRINTS, OPEN_ENDPOINTS
from debfleet_api.permissions import ADMINISTRATORS, POLICY

USERS, GROUPS, ROLES = f"{V3}users/", f"{V3}groups/", f"{V3}roles/"
RBAC, HEADER = f"{V3}contentguards/core/rbac/", f"{V3}contentguards/core/header/"
DISTRIBUTIONS = f"{V3}distributions/deb/apt/"
FORBIDDEN = {"detail": "You do not have permission to perform this action."}


@pytest.fixture
def admin(shared_api: ApiClient) -> ApiClient:
    return shared_api


def a_user(admin: ApiClient, *roles: str) -> tuple[ApiClient, dict[str, Any]]:
    """A client that is logged in as a new user with these roles on everything."""
    user = made(admin.post(USERS, {"username": a_name(), "password": "a long password"}))
    for role in roles:
        made(admin.post(f"{user['pulp_href']}roles/", {"role": role, "content_object": None}))
    return ApiClient(admin.app, user["username"], "a long password"), user


def hrefs(response: Any) -> list[str]:
    assert response.status_code == 200, response.get_data(as_text=True)
    return [result["pulp_href"] for result in response.json["results"]]


# --- users and groups --------------------------------------------------------------------------


def test_a_user_is_made_shown_changed_and_deleted(admin: ApiClient) -> None:
    name = a_name()
    user = made(admin.post(USERS, {"username": name, "password": "secret", "email": "a@b.example"}))

    assert user["username"] == name
    assert "password" not in user
    assert user["hidden_fields"] == [{"name": "password", "is_set": True}]
    assert admin.get(user["pulp_href"]).json == user
    assert hrefs(admin.get(f"{USERS}?username={name}")) == [user["pulp_href"]]
    changed = admin.patch(user["pulp_href"], {"first_name": "Ada"})
    assert (changed.status_code, (changed.json or {})["first_name"]) == (200, "Ada")
    assert admin.delete(user["pulp_href"]).status_code == 204
    assert admin.get(user["pulp_href"]).status_code == 404


def test_a_new_password_holds_and_the_old_one_is_refused(admin: ApiClient) -> None:
    client, user = a_user(admin)
    assert client.get(REPOSITORIES).status_code == 200

    assert admin.patch(user["pulp_href"], {"password": "another"}).status_code == 200

    assert client.get(REPOSITORIES).status_code == 401
    assert ApiClient(admin.app, user["username"], "another").get(REPOSITORIES).status_code == 200


def test_who_is_not_active_cannot_log_in(admin: ApiClient) -> None:
    client, user = a_user(admin)

    admin.patch(user["pulp_href"], {"is_active": False})

    assert client.get(REPOSITORIES).status_code == 401


def test_the_last_administrator_stays(admin: ApiClient) -> None:
    [href] = hrefs(admin.get(f"{USERS}?username=admin"))

    assert "last administrator" in str(refused(admin.delete(href)))
    assert "is_active" in refused(admin.patch(href, {"is_active": False}))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "x" * 151}, "username"),
        ({"username": "fine", "password": 7}, "password"),
        ({"username": "fine", "is_superuser": True}, "is_superuser"),
    ],
)
def test_a_bad_user_is_refused_by_field(admin: ApiClient, body: Any, field: str) -> None:
    assert field in refused(admin.post(USERS, body))


def test_a_username_is_taken_once(admin: ApiClient) -> None:
    _, user = a_user(admin)

    assert refused(admin.post(USERS, {"username": user["username"]})) == {
        "username": ["This field must be unique."]
    }


def test_a_group_has_members_and_gives_them_its_roles(admin: ApiClient) -> None:
    client, user = a_user(admin)
    group = made(admin.post(GROUPS, {"name": a_name()}))
    assert client.post(REPOSITORIES, {"name": a_name()}).status_code == 403

    added = admin.post(f"{group['pulp_href']}users/", {"username": user["username"]})
    made(admin.post(f"{group['pulp_href']}roles/", {"role": "deb.aptrepository_creator"}))

    assert added.status_code == 201
    assert hrefs(admin.get(f"{group['pulp_href']}users/")) == [user["pulp_href"]]
    assert admin.get(user["pulp_href"]).json["groups"][0]["name"] == group["name"]  # type: ignore[index]
    made(client.post(REPOSITORIES, {"name": a_name()}))
    removed = admin.delete(f"{group['pulp_href']}users/{user['id']}/")
    assert removed.status_code == 204
    assert client.post(REPOSITORIES, {"name": a_name()}).status_code == 403


# --- roles -------------------------------------------------------------------------------------


def test_our_roles_are_locked(admin: ApiClient) -> None:
    answer = admin.get(f"{ROLES}?name=deb.aptrepository_owner").json or {}
    [role] = answer["results"]

    assert role["locked"] is True
    assert "deb.sync_aptrepository" in role["permissions"]
    assert "locked" in str(refused(admin.patch(role["pulp_href"], {"description": "x"})))
    assert "locked" in str(refused(admin.delete(role["pulp_href"])))


def test_a_role_of_ones_own_holds_just_its_permissions(admin: ApiClient) -> None:
    name = a_name()
    permissions = ["deb.view_aptrepository", "deb.sync_aptrepository"]
    role = made(admin.post(ROLES, {"name": name, "permissions": permissions}))
    repository = admin.repository()
    client, user = a_user(admin)
    made(
        admin.post(
            f"{user['pulp_href']}roles/", {"role": name, "content_object": repository["pulp_href"]}
        )
    )

    assert client.get(repository["pulp_href"]).status_code == 200
    assert client.patch(repository["pulp_href"], {"description": "x"}).status_code == 403
    mine = client.get(f"{repository['pulp_href']}my_permissions/").json
    assert mine == {"permissions": sorted(permissions)}
    assert admin.delete(role["pulp_href"]).status_code == 204
    assert client.get(repository["pulp_href"]).status_code == 404


def test_a_permission_that_means_nothing_is_refused(admin: ApiClient) -> None:
    body = {"name": a_name(), "permissions": ["deb.fly_aptrepository"]}

    assert "permissions" in refused(admin.post(ROLES, body))


# --- what they allow ---------------------------------------------------------------------------


def test_a_user_with_nothing_sees_nothing_and_makes_nothing(admin: ApiClient) -> None:
    client, _ = a_user(admin)
    repository, remote = admin.repository(), admin.remote()

    assert refused(client.post(REPOSITORIES, {"name": a_name()}), 403) == FORBIDDEN
    assert refused(client.post(REMOTES, remote_fields()), 403) == FORBIDDEN
    for thing in (repository, remote):
        refused(client.get(thing["pulp_href"]), 404)
        refused(client.delete(thing["pulp_href"]), 404)
    assert hrefs(client.get(REPOSITORIES)) == hrefs(client.get(REMOTES)) == []
    assert hrefs(client.get(f"{V3}repository_versions/")) == []
    assert hrefs(client.get(f"{V3}tasks/")) == []
    refused(client.get(f"{repository['pulp_href']}versions/"), 404)
    refused(client.get(f"{V3}content/deb/packages/"), 403)
    refused(client.get(f"{V3}users/"), 403)
    refused(client.post(f"{V3}orphans/cleanup/"), 403)


def test_who_made_it_owns_it(admin: ApiClient) -> None:
    client, user = a_user(admin, "deb.aptrepository_creator", "deb.aptremote_creator")
    other, _ = a_user(admin, "deb.aptrepository_creator")

    remote = made(client.post(REMOTES, remote_fields()))
    repository = made(client.post(REPOSITORIES, {"name": a_name(), "remote": remote["pulp_href"]}))

    assert hrefs(client.get(REPOSITORIES)) == [repository["pulp_href"]]
    task = client.post(f"{repository['pulp_href']}sync/")
    assert task.status_code == 202
    task_href = (task.json or {})["task"]
    assert hrefs(client.get(f"{V3}tasks/")) == [task_href]
    assert client.get(task_href).status_code == 200
    refused(other.get(task_href), 404)
    refused(other.get(repository["pulp_href"]), 404)
    roles = admin.get(f"{repository['pulp_href']}list_roles/").json
    assert roles == {
        "roles": [{"role": "deb.aptrepository_owner", "users": [user["username"]], "groups": []}]
    }


def test_a_task_is_shown_to_whom_a_role_on_it_is_given(admin: ApiClient) -> None:
    client, user = a_user(admin)
    asked = admin.post(f"{admin.repository(remote=admin.remote()['pulp_href'])['pulp_href']}sync/")
    task = (asked.json or {})["task"]
    role = {"role": "core.task_viewer", "users": [user["username"]], "groups": []}
    refused(client.get(task), 404)

    given = admin.post(f"{task}add_role/", role)

    assert (given.status_code, given.json) == (201, role)
    assert client.get(task).status_code == 200
    assert hrefs(client.get(f"{V3}tasks/")) == [task]
    assert client.get(f"{task}my_permissions/").json == {"permissions": ["core.view_task"]}
    assert refused(client.patch(task, {"state": "canceled"}), 403) == FORBIDDEN
    listed = {"role": role["role"], "users": role["users"], "groups": []}
    assert admin.get(f"{task}list_roles/").json == {"roles": [listed]}
    assert admin.post(f"{task}remove_role/", role).status_code == 201
    refused(client.get(task), 404)


def test_who_asked_for_a_task_owns_it(admin: ApiClient) -> None:
    client, _ = a_user(admin, "deb.aptrepository_creator", "deb.aptremote_creator")
    remote = made(client.post(REMOTES, remote_fields()))
    repository = made(client.post(REPOSITORIES, {"name": a_name(), "remote": remote["pulp_href"]}))
    task = (client.post(f"{repository['pulp_href']}sync/").json or {})["task"]

    mine = client.get(f"{task}my_permissions/").json or {}

    assert {"core.change_task", "core.delete_task", "core.view_task"} <= set(mine["permissions"])


def test_a_viewer_reads_and_no_more(admin: ApiClient) -> None:
    client, _ = a_user(admin, "deb.aptrepository_viewer")
    repository, remote = admin.repository(), admin.remote()

    assert client.get(repository["pulp_href"]).status_code == 200
    latest = repository["latest_version_href"]
    packages = client.get(f"{V3}content/deb/packages/?repository_version={latest}")
    assert packages.status_code == 200
    assert refused(client.post(f"{repository['pulp_href']}modify/", {}), 403) == FORBIDDEN
    assert refused(client.delete(repository["pulp_href"]), 403) == FORBIDDEN
    refused(client.get(remote["pulp_href"]), 404)


def test_a_reference_to_what_one_may_not_read_leads_nowhere(admin: ApiClient) -> None:
    client, _ = a_user(admin, "deb.aptrepository_creator")
    remote = admin.remote()

    body = {"name": a_name(), "remote": remote["pulp_href"]}

    assert refused(client.post(REPOSITORIES, body)) == {
        "remote": ["Invalid hyperlink - Object does not exist."]
    }


def test_content_is_read_through_repositories_that_one_may_read(admin: ApiClient) -> None:
    client, user = a_user(admin)
    mine, other = admin.repository(), admin.repository()
    role = {"role": "deb.aptrepository_viewer", "users": [user["username"]], "groups": []}
    given = admin.post(f"{mine['pulp_href']}add_role/", role)
    assert (given.status_code, given.json) == (201, role)

    packages = f"{V3}content/deb/packages/?repository_version="

    assert client.get(packages + mine["latest_version_href"]).status_code == 200
    refused(client.get(packages + other["latest_version_href"]), 400)
    refused(client.get(f"{V3}content/deb/packages/"), 403)
    taken = admin.post(f"{mine['pulp_href']}remove_role/", role)
    assert taken.status_code == 201
    refused(client.get(packages + mine["latest_version_href"]), 400)


def test_nobody_takes_content_or_a_base_from_what_they_may_not_read(admin: ApiClient) -> None:
    client, _ = a_user(admin, "deb.aptrepository_creator")
    mine, hidden = made(client.post(REPOSITORIES, {"name": a_name()})), admin.repository()
    modify = f"{mine['pulp_href']}modify/"
    entry = {"source_repo_version": hidden["latest_version_href"], "dest_repo": mine["pulp_href"]}

    base = refused(client.post(modify, {"base_version": hidden["latest_version_href"]}))
    copied = refused(client.post(f"{V3}deb/copy/", {"config": [entry]}))

    assert base == {"base_version": ["Invalid hyperlink - Object does not exist."]}
    assert "no repository version" in str(copied)


def test_a_distribution_belongs_to_its_maker(admin: ApiClient) -> None:
    client, _ = a_user(admin, "deb.aptdistribution_creator")
    task = client.task(client.post(DISTRIBUTIONS, {"name": a_name(), "base_path": a_name()}))

    [href] = task["created_resources"]

    assert hrefs(client.get(DISTRIBUTIONS)) == [href]
    assert client.delete(href).status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "no.such", "users": ["admin"]}, "role"),
        ({"role": "deb.aptremote_viewer", "users": ["admin"]}, "non_field_errors"),
        ({"role": "deb.aptrepository_viewer", "users": ["nobody-here"]}, "users"),
        ({"role": "deb.aptrepository_viewer", "groups": ["nobody-here"]}, "groups"),
        ({"role": "deb.aptrepository_viewer"}, "non_field_errors"),
    ],
)
def test_a_bad_grant_is_refused_by_field(admin: ApiClient, body: Any, field: str) -> None:
    repository = admin.repository()

    assert field in refused(admin.post(f"{repository['pulp_href']}add_role/", body))


def test_a_role_is_granted_once(admin: ApiClient) -> None:
    _, user = a_user(admin, "deb.viewer")
    grants = f"{user['pulp_href']}roles/"

    assert "already" in str(refused(admin.post(grants, {"role": "deb.viewer"})))
    [href] = hrefs(admin.get(grants))
    assert admin.get(href).json["permissions"]  # type: ignore[index]
    assert admin.delete(href).status_code == 204
    assert hrefs(admin.get(grants)) == []


def test_a_grant_on_nothing_is_refused(admin: ApiClient) -> None:
    _, user = a_user(admin)
    body = {"role": "deb.viewer", "content_object": f"{REPOSITORIES}{NOWHERE}/"}

    assert "content_object" in refused(admin.post(f"{user['pulp_href']}roles/", body))


# --- guards ------------------------------------------------------------------------------------


def test_a_guard_is_made_given_and_kept_while_it_is_needed(admin: ApiClient) -> None:
    guard = made(admin.post(RBAC, {"name": a_name()}))
    body = {"name": a_name(), "base_path": a_name(), "content_guard": guard["pulp_href"]}
    [href] = admin.task(admin.post(DISTRIBUTIONS, body))["created_resources"]

    shown = admin.get(href).json or {}

    assert shown["content_guard"] == guard["pulp_href"]
    assert shown["content_guard_prn"] == guard["prn"]
    assert body["name"] in str(refused(admin.delete(guard["pulp_href"])))
    admin.task(admin.patch(href, {"content_guard": None}))
    assert admin.delete(guard["pulp_href"]).status_code == 204


def test_downloaders_stand_in_their_guard(admin: ApiClient) -> None:
    _, user = a_user(admin)
    guard = made(admin.post(RBAC, {"name": a_name()}))
    role = {"role": "core.rbaccontentguard_downloader", "users": [user["username"]]}

    assert admin.post(f"{guard['pulp_href']}add_role/", role).status_code == 201

    shown = admin.get(guard["pulp_href"]).json or {}
    assert [u["username"] for u in shown["users"]] == [user["username"]]
    assert guard["pulp_href"] in hrefs(admin.get(f"{V3}contentguards/?name={guard['name']}"))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"header_name": "X-Key", "header_value": "v"}, "name"),
        ({"name": "g", "header_name": "X Key", "header_value": "v"}, "header_name"),
        ({"name": "g", "header_name": "X-Key"}, "header_value"),
        ({"name": "g", "header_name": "X", "header_value": "v", "jq_filter": "."}, "jq_filter"),
    ],
)
def test_a_bad_header_guard_is_refused_by_field(admin: ApiClient, body: Any, field: str) -> None:
    assert field in refused(admin.post(HEADER, body))


# --- the table ---------------------------------------------------------------------------------


def test_every_endpoint_is_somebodys(admin: ApiClient) -> None:
    endpoints = {rule.endpoint for rule in admin.app.url_map.iter_rules()}
    unknown = endpoints - POLICY.keys() - OPEN_ENDPOINTS

    blueprints = ADMINISTRATORS | OPEN_BLUEPRINTS
    assert {e for e in unknown if e.partition(".")[0] not in blueprints} == set()
    assert POLICY.keys() <= endpoints
