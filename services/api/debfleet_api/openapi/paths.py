"""Paths as clients know them: one placeholder for the whole href of an object, or ids."""

from __future__ import annotations

import re

from debfleet_api.hrefs import BASE

_VARIABLE = re.compile(r"<(?:[^<>]*:)?(\w+)>")

# Path below BASE of a list to the placeholder of its objects. Clients send it by this name.
PLACEHOLDERS: dict[str, str] = {
    "repositories/deb/apt": "deb_apt_repository_href",
    "repositories/deb/apt/versions": "deb_apt_repository_version_href",
    "remotes/deb/apt": "deb_apt_remote_href",
    "publications/deb/apt": "deb_apt_publication_href",
    "publications/deb/verbatim": "deb_verbatim_publication_href",
    "distributions/deb/apt": "deb_apt_distribution_href",
    "content/deb/packages": "deb_package_href",
    "content/deb/installer_packages": "deb_installer_package_href",
    "content/deb/generic_contents": "deb_generic_content_href",
    "content/deb/release_files": "deb_release_file_href",
    "content/deb/package_indices": "deb_package_index_href",
    "content/deb/source_indices": "deb_source_index_href",
    "content/deb/installer_file_indices": "deb_installer_file_index_href",
    "content/deb/releases": "deb_release_href",
    "content/deb/release_architectures": "deb_release_architecture_href",
    "content/deb/release_components": "deb_release_component_href",
    "content/deb/package_release_components": "deb_package_release_component_href",
    "content/deb/source_packages": "deb_source_package_href",
    "content/deb/source_release_components": "deb_source_package_release_component_href",
    "acs/deb/deb": "deb_apt_alternate_content_source_href",
    "artifacts": "artifact_href",
    "contentguards/core/rbac": "r_b_a_c_content_guard_href",
    "contentguards/core/header": "header_content_guard_href",
    "contentguards/core/composite": "composite_content_guard_href",
    "contentguards/core/content_redirect": "content_redirect_content_guard_href",
    "domains": "domain_href",
    "exporters/core/pulp": "pulp_exporter_href",
    "exporters/core/pulp/exports": "pulp_pulp_export_href",
    "groups": "group_href",
    "groups/roles": "groups_group_role_href",
    "groups/users": "groups_user_href",
    "importers/core/pulp": "pulp_importer_href",
    "importers/core/pulp/imports": "pulp_pulp_import_href",
    "roles": "role_href",
    "schedules": "schedule_href",
    "signing-services": "signing_service_href",
    "task-groups": "task_group_href",
    "task-schedules": "task_schedule_href",
    "tasks": "task_href",
    "uploads": "upload_href",
    "users": "auth_user_href",
    "users/roles": "auth_users_user_role_href",
    "workers": "worker_href",
}


def placeholder_path(rule: str) -> str:
    """``/…/repositories/deb/apt/<key>/sync/`` is ``{deb_apt_repository_href}sync/``.

    Raises:
        KeyError: The list has no placeholder yet.
    """
    variables = list(_VARIABLE.finditer(rule))
    if not variables:
        return rule
    last = variables[-1]
    before = rule[: last.start()].removeprefix(BASE)
    resource = "/".join(p for p in before.split("/") if p and not _VARIABLE.fullmatch(p))
    return f"{{{PLACEHOLDERS[resource]}}}{rule[last.end() :].removeprefix('/')}"


def pk_path(rule: str) -> str:
    """The path with ids: ``pulp_id`` of the object, ``…_pk`` of what it is part of."""
    found = list(_VARIABLE.finditer(rule))
    for place, match in reversed(list(enumerate(found))):
        name = match[1] if match[1] != "key" else "pulp_id"
        if place < len(found) - 1:
            parent = rule[: match.start()].strip("/").removeprefix(BASE.strip("/")).strip("/")
            name = re.sub(r"_href$", "_pk", PLACEHOLDERS[parent])
        rule = f"{rule[: match.start()]}{{{name}}}{rule[match.end() :]}"
    return rule
