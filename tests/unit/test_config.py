"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from debfleet.config import explain_settings, read_settings
from debfleet.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        (
            "ALLOWED_IMPORT_PATHS",
            '["/srv/a", "/srv/b"]',
            "allowed_import_paths",
            ("/srv/a", "/srv/b"),
        ),
        (
            "FORCE_IGNORE_MISSING_PACKAGE_INDICES",
            "True",
            "force_ignore_missing_package_indices",
            True,
        ),
        ("PERMISSIVE_SYNC", "true", "permissive_sync", True),
        ("ORPHAN_PROTECTION_TIME", "7", "orphan_protection_time", 7),
    ],
)
def test_a_setting_of_pulp_is_read_under_both_names_and_ours_wins(
    name: str, value: str, field: str, expected: object
) -> None:
    assert getattr(read_settings({f"PULP_{name}": value}), field) == expected
    assert getattr(read_settings({f"DEBFLEET_{name}": value}), field) == expected
    assert (
        getattr(read_settings({f"PULP_{name}": "rubbish", f"DEBFLEET_{name}": value}), field)
        == expected
    )


@pytest.mark.parametrize(
    "name",
    [
        "EXCLUDED_PACKAGE_METADATA_FIELDS",
        "FORBIDDEN_CHECKSUM_WARNINGS",
        "MAX_PACKAGE_SIGNING_WORKERS",
    ],
)
@pytest.mark.parametrize("prefix", ["PULP_", "DEBFLEET_"])
def test_a_setting_of_pulp_that_we_lack_is_refused(prefix: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text(f"{prefix}{name}=1\n")

    for environ in ({f"{prefix}{name}": "1"}, {"DEBFLEET_SETTINGS_FILE": str(file)}):
        with pytest.raises(ConfigError, match=f"{prefix}{name}: .*no such setting"):
            read_settings(environ)


def test_what_pulp_has_and_a_sync_does_not_ask_is_left_alone() -> None:
    origins = explain_settings({"PULP_CACHE_ENABLED": "true", "PULP_API_ROOT": "/pulp/"})

    assert {origin.source for origin in origins} == {"default"}
