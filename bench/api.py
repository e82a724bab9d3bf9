"""Rows about the API: how fast it answers, also where there is much of everything."""

from __future__ import annotations

from pathlib import Path

import peers
import psycopg
from inputs import write_suites
from lab import V3, mirror, postgres, put_away
from nginx import web
from table import Place, Row, percentiles

_SUITE = 65_000
_MADE = Path(__file__).with_name("thousand.sql")
_SIZES = """
select case when relname in ('packages', 'repository_chunks', 'version_counts')
            then relname else 'everything else' end as part,
       sum(pg_total_relation_size(oid))::bigint
  from pg_class where relkind = 'r' and relpersistence = 'p'
   and relnamespace in ('public'::regnamespace, 'pg_catalog'::regnamespace)
 group by 1 order by 2 desc
"""


def requests(place: Place) -> list[Row]:
    """Requests by 16 connections at once, and what a page far into a long list costs."""
    folder = place.folder / "api"
    first, _ = write_suites(folder, _SUITE)
    row = Row(
        f"The API: {_SUITE:,} packages, 16 connections", goal="reads under 10 ms at p50, idle"
    )
    row.notes += ["| Request | Requests a second | p50 | p99 |", "|---|---|---|---|"]
    with web(first.folder) as server, mirror(place.folder) as up:
        _, repository = up.pair("api", server.url, "stable", policy="on_demand")
        up.sync(repository)
        version = up.up.ask("GET", repository)[1]["latest_version_href"]
        packages = f"/pulp/api/v3/content/deb/packages/?repository_version={version}&limit=100"
        for name, path, asked in (
            ("`GET` a repository", repository, {}),
            ("`GET` 100 packages of the version", packages, {}),
            ("`POST` sync", f"{repository}sync/", {"is_post": True, "count": 320}),
        ):
            row.notes.append(f"| {name} | {peers.ab(up.login(), up.url(path), **asked)} |")
        for name, path in (("a repository", repository), ("100 packages", packages)):
            one = peers.ab(up.login(), up.url(path), connections=1, count=800)
            row.notes.append(f"| `GET` {name}, 1 connection | {one} |")
        pages = [
            min(up.times([f"{packages}&offset={offset}"] * 5 * place.rounds))
            for offset in (0, _SUITE // 2, _SUITE - 200)
        ]
    row.notes += [
        "",
        "A page of 100 packages at offset 0, in the middle, at the end: "
        + ", ".join(f"{seconds * 1000:.0f} ms" for seconds in pages),
    ]
    put_away(folder)
    return [row]


def thousand_repositories(place: Place) -> list[Row]:
    """1,000 repositories with 10 versions each, made by SQL, and asked for by the real API."""
    row = Row(
        f"1,000 repositories, 10 versions each, of 40 suites of {_SUITE:,} packages",
        goal="beside the packages themselves under 1 GB of database; each request under 10 ms",
    )
    with (
        postgres(place.folder, max_wal_size="8GB") as url,
        mirror(place.folder, 0, {"DEBFLEET_DATABASE_URL": url}) as up,
        psycopg.connect(url, autocommit=True) as db,
    ):
        db.execute(_MADE.read_bytes())
        db.execute("vacuum (analyze)")
        sizes = db.execute(_SIZES).fetchall()
        listed = up.up.ask("GET", f"{V3}repositories/deb/apt/?limit=200&fields=pulp_href")[1]
        made = [str(one["pulp_href"]) for one in listed["results"]]
        content = f"{V3}content/deb/packages/?repository_version="
        asked = {
            name: percentiles(up.times(paths, method))
            for name, method, paths in (
                ("counts of a version", "GET", [f"{r}versions/9/" for r in made]),
                ("10 packages at offset 60,000", "GET",
                 [f"{content}{r}versions/9/&limit=10&offset=60000" for r in made]),
                ("100 packages at offset 60,000", "GET",
                 [f"{content}{r}versions/9/&limit=100&offset=60000" for r in made]),
                ("100 packages at offset 0", "GET",
                 [f"{content}{r}versions/9/&limit=100" for r in made]),
                ("`POST` sync", "POST", [f"{r}sync/" for r in made]),
            )
        }  # fmt: skip
    row.notes += ["| Table, with its Postgres indices | MB |", "|---|---|"]
    row.notes += [f"| {part} | {size / 1e6:,.0f} |" for part, size in sizes]
    beside = sum(size for part, size in sizes if part != "packages")
    row.notes += [f"| all but packages | {beside / 1e6:,.0f} |", ""]
    row.notes += ["| Request, 1 connection | p50 | p99 |", "|---|---|---|"]
    row.notes += [f"| {name} | {cells} |" for name, cells in asked.items()]
    return [row]
