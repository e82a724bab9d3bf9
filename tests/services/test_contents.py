"""Pages, counts and filters over bitmaps, judged by sets in Python."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from psycopg import sql as compose

import content_rows as rows
from debfleet.db import contents, holdings
from debfleet.db.connect import Database, Tx
from debfleet.db.contents import ArtifactSelection, Held, Place, Selection
from debfleet.identity import UnitId
from debfleet.model import Kind

SIZE = 70_000


@dataclass(frozen=True)
class World:
    """What was written, as Python has it."""

    repository: int
    other: int
    versions: list[set[int]]  # packages of versions 0, 1, … of the repository
    links: dict[int, set[int]]  # of version 2: packages by link list
    components: dict[int, int]  # release component by link list


@pytest.fixture(scope="module")
def big(postgres: object, template_url: str) -> Iterator[Database]:
    """One database for the whole module: nothing here writes but the world below."""
    url = postgres.database(template_url)  # type: ignore[attr-defined]  # PostgresForTests
    with Database(url, name="tests") as opened:
        yield opened
    postgres.drop(url)  # type: ignore[attr-defined]  # PostgresForTests


@pytest.fixture(scope="module")
def world(big: Database) -> World:
    """70,000 packages in version 1, a few changed in 2, most gone in 3; links in 2 only."""
    rng = random.Random(5)
    with big.transaction() as tx:
        ids = rows.add_packages(tx, SIZE + 2000)
        packages = rows.unit_list(tx, Kind.PACKAGE)
        first = set(ids[:SIZE])
        second = first - set(rng.sample(ids[:SIZE], 700)) | set(ids[SIZE : SIZE + 500])
        third = set(rng.sample(sorted(second), 9000))
        places = {}
        for distribution in ("bookworm", "trixie"):
            rows.add_release(tx, distribution)
            for component in ("main", "contrib"):
                unit = rows.add_component(tx, distribution, component)
                for architecture in ("amd64", "all"):
                    places[rows.link_list(tx, unit, architecture)] = unit
        links = {list_id: set(rng.sample(sorted(second), 12_000)) for list_id in places}
        units = {
            rows.unit_list(tx, Kind.RELEASE_COMPONENT): set(places.values()),
            rows.unit_list(tx, Kind.RELEASE): {1, 2},
        }
        repository, other = rows.add_repository(tx, "one"), rows.add_repository(tx, "two")
        versions = [set(), first, second, third]
        lists = [{packages: v} for v in versions]
        lists[2] |= links | units
        rows.write_versions(tx, repository, lists)
        rows.write_versions(tx, other, [{}, {packages: set(ids[SIZE + 1000 :])}])
    with big.transaction() as tx:
        tx.execute("analyze")
    return World(repository, other, versions, links, places)


def packages(world: World, number: int, **more: object) -> Selection:
    held = Held(Place(world.repository, number))
    return Selection(Kind.PACKAGE, sets=(held,), **more)  # type: ignore[arg-type]  # of this test


def page(tx: Tx, selection: Selection, limit: int, offset: int) -> list[int]:
    return [row["id"] for row in contents.list_units(tx, selection, limit, offset).rows]


def newest_first(units: set[int]) -> list[int]:
    return sorted(units, reverse=True)


def test_a_page_at_every_chunk_border_and_past_the_end_is_the_model_s(
    big: Database, world: World
) -> None:
    expected = newest_first(world.versions[2])
    borders = [n for n in range(1, len(expected)) if expected[n - 1] >> 12 != expected[n] >> 12]

    with big.transaction() as tx:
        for border in [0, 1, *borders, len(expected) - 5]:
            for offset in (border - 3, border, border + 1):
                start = max(offset, 0)
                found = page(tx, packages(world, 2), 7, start)
                assert found == expected[start : start + 7], start
        past = contents.list_units(tx, packages(world, 2), 10, len(expected))

    assert past.rows == []
    assert past.count == len(expected)


def test_a_page_longer_than_a_chunk_is_the_model_s(big: Database, world: World) -> None:
    expected = newest_first(world.versions[2])

    with big.transaction() as tx:
        assert page(tx, packages(world, 2), 10_000, 1234) == expected[1234:11_234]
        assert page(tx, packages(world, 2), 1_000_000, 0) == expected


@pytest.mark.parametrize("kind", sorted(contents.TABLES))
def test_what_one_version_holds_is_the_same_list_by_statements_of_its_own(
    big: Database, world: World, kind: Kind
) -> None:
    with big.transaction() as tx:
        row = tx.execute("select uuid from repositories where id = %s", [world.repository])
        uuid = row.fetchone()["uuid"]  # type: ignore[index]  # the world's
        for number in range(4):
            selection = Selection(kind, sets=(Held(Place(world.repository, number)),))
            for limit, offset in [
                (7, 0),
                (100, 5000),
                (5000, 3000),
                (3, 69_999),
                (0, 0),
                (9, 10**6),
            ]:
                found = contents.list_version(tx, uuid, number, kind, limit, offset)
                assert found == contents.list_units(tx, selection, limit, offset)
        assert contents.list_version(tx, uuid, 4, kind, 10, 0) is None
        assert contents.list_version(tx, uuid4(), 1, kind, 10, 0) is None


def test_counts_are_those_of_the_sets(big: Database, world: World) -> None:
    with big.transaction() as tx:
        for number, units in enumerate(world.versions):
            assert contents.list_units(tx, packages(world, number), 1, 0).count == len(units)


@pytest.mark.parametrize(("of", "without"), [(2, 1), (1, 2), (3, 2), (2, 3), (1, 0), (0, 1)])
def test_a_difference_of_two_versions_is_that_of_their_sets(
    big: Database, world: World, of: int, without: int
) -> None:
    places = Place(world.repository, of), Place(world.repository, without)
    expected = newest_first(world.versions[of] - world.versions[without])

    with big.transaction() as tx:
        found = contents.list_units(tx, Selection(Kind.PACKAGE, sets=(Held(*places),)), 300, 200)

    assert found.count == len(expected)
    assert [row["id"] for row in found.rows] == expected[200:500]


def test_a_difference_to_another_repository_s_version(big: Database, world: World) -> None:
    held = Held(Place(world.other, 1), without=Place(world.repository, 2))

    with big.transaction() as tx:
        found = contents.list_units(tx, Selection(Kind.PACKAGE, sets=(held,)), 5, 0)

    assert found.count == 1000


def test_two_sets_give_what_is_in_both(big: Database, world: World) -> None:
    sets = (Held(Place(world.repository, 1)), Held(Place(world.repository, 3)))
    expected = newest_first(world.versions[1] & world.versions[3])

    with big.transaction() as tx:
        found = contents.list_units(tx, Selection(Kind.PACKAGE, sets=sets), 50, 4000)

    assert found.count == len(expected)
    assert [row["id"] for row in found.rows] == expected[4000:4050]


def test_packages_of_release_components_are_those_linked_to_them(
    big: Database, world: World
) -> None:
    component = min(world.components.values())
    lists = [number for number, unit in world.components.items() if unit == component]
    expected = newest_first(set().union(*(world.links[number] for number in lists)))
    linked = Held(Place(world.repository, 2), components=(component,))

    with big.transaction() as tx:
        found = contents.list_units(tx, Selection(Kind.PACKAGE, sets=(linked,)), 100, 500)

    assert found.count == len(expected)
    assert [row["id"] for row in found.rows] == expected[500:600]


def test_links_are_pages_of_package_and_list(big: Database, world: World) -> None:
    every = sorted(
        ((-package, number) for number, units in world.links.items() for package in units)
    )
    selection = Selection(Kind.PACKAGE_RELEASE_COMPONENT, sets=(Held(Place(world.repository, 2)),))

    with big.transaction() as tx:
        for offset in (0, 1, 50_000, len(every) - 3, len(every)):
            found = contents.list_units(tx, selection, 20, offset)
            assert found.count == len(every)
            assert [(-r["package"], r["list"]) for r in found.rows] == every[offset : offset + 20]


def test_links_of_one_package_and_of_one_component(big: Database, world: World) -> None:
    package = next(iter(next(iter(world.links.values()))))
    component = min(world.components.values())
    ids = tuple(UnitId(Kind.PACKAGE_RELEASE_COMPONENT, package, number) for number in world.links)
    own = Selection(Kind.PACKAGE_RELEASE_COMPONENT, ids=ids)
    linked = Selection(
        Kind.PACKAGE_RELEASE_COMPONENT,
        sets=(Held(Place(world.repository, 2), components=(component,)),),
    )

    with big.transaction() as tx:
        found = contents.list_units(tx, own, 100, 0)
        of_component = contents.list_units(tx, linked, 10, 0)

    having = {number for number, units in world.links.items() if package in units}
    assert {row["list"] for row in found.rows} == having
    assert found.count == len(having)
    assert {row["release_component"] for row in of_component.rows} == {component}
    assert of_component.count == sum(
        len(world.links[number]) for number, unit in world.components.items() if unit == component
    )


def test_a_link_in_no_version_is_not_found(big: Database, world: World) -> None:
    number, units = next(iter(world.links.items()))
    there, gone = min(units), min(world.versions[1] - units)

    with big.transaction() as tx:
        found = contents.find_unit(tx, UnitId(Kind.PACKAGE_RELEASE_COMPONENT, there, number))
        missing = contents.find_unit(tx, UnitId(Kind.PACKAGE_RELEASE_COMPONENT, gone, number))

    assert found is not None
    assert found["release_component"] == world.components[number]
    assert missing is None


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("u.name = 'name-77'", lambda n: n % 1000 == 77),
        ("u.name like 'name-7%'", lambda n: str(n % 1000).startswith("7")),
        ("u.architecture = 'arm64'", lambda n: n % 3 == 1),
        ("u.section = 'net' and u.architecture = 'all'", lambda n: n % 5 == 1 and n % 3 == 2),
        ("stanza_field(u.stanza, 'installed-size') = '7'", lambda n: n % 50 == 7),
        ("u.relative_path = 'pool/p4097.deb'", lambda n: n == 4097),
    ],
)
def test_a_filter_within_a_version_gives_what_python_gives(
    big: Database, world: World, condition: str, holds: object
) -> None:
    expected = newest_first({n for n in world.versions[3] if holds(n)})  # type: ignore[operator]
    where = compose.SQL(condition)  # type: ignore[arg-type]  # from the table above

    with big.transaction() as tx:
        tx.execute("set local statement_timeout = '60s'")
        found = contents.list_units(tx, packages(world, 3, where=where), 30, 10)

    assert found.count == len(expected)
    assert [row["id"] for row in found.rows] == expected[10:40]


def test_a_list_can_be_ordered_by_a_column(big: Database, world: World) -> None:
    order = compose.SQL("u.size asc")
    expected = sorted(world.versions[3])

    with big.transaction() as tx:
        found = page(tx, packages(world, 3, order=order), 25, 100)
        everywhere = page(tx, Selection(Kind.PACKAGE, order=order), 25, 0)

    assert found == expected[100:125]
    assert everywhere == list(range(1, 26))


def test_a_list_of_everything_goes_from_the_newest(big: Database, world: World) -> None:
    with big.transaction() as tx:
        found = contents.list_units(tx, Selection(Kind.PACKAGE), 3, 60_000)

    assert found.count == SIZE + 2000
    assert [row["id"] for row in found.rows] == [12_000, 11_999, 11_998]


def test_kinds_one_after_the_other_are_one_list(big: Database, world: World) -> None:
    held = (Held(Place(world.repository, 2)),)
    kinds = (Kind.PACKAGE_RELEASE_COMPONENT, Kind.PACKAGE, Kind.RELEASE_COMPONENT, Kind.RELEASE)
    links = sum(len(units) for units in world.links.values())
    total = links + len(world.versions[2]) + 4 + 2

    with big.transaction() as tx:
        selections = [Selection(kind, sets=held) for kind in kinds]
        count, border = contents.list_mixed(tx, selections, 4, links - 2)
        _, tail = contents.list_mixed(tx, selections, 100, total - 8)

    assert count == total
    assert [kind for kind, _ in border] == [
        *[Kind.PACKAGE_RELEASE_COMPONENT] * 2,
        *[Kind.PACKAGE] * 2,
    ]
    assert [kind for kind, _ in tail] == [
        *[Kind.PACKAGE] * 2, *[Kind.RELEASE_COMPONENT] * 4, *[Kind.RELEASE] * 2,
    ]  # fmt: skip


def test_versions_and_repositories_that_hold_a_unit(big: Database, world: World) -> None:
    for package in (
        min(world.versions[1] - world.versions[2]),
        min(world.versions[3]),
        SIZE + 1500,
    ):
        unit = UnitId(Kind.PACKAGE, package)
        holding = [n for n, units in enumerate(world.versions) if package in units]
        expected = [(world.repository, n) for n in holding]
        expected += [(world.other, 1)] if package > SIZE + 1000 else []

        with big.transaction() as tx:
            assert holdings.find_versions(tx, [unit]) == expected
            assert holdings.find_repositories(tx, [unit]) == sorted({r for r, _ in expected})
            latest = holdings.find_repositories(tx, [unit], latest=True)
            held = holdings.holds(tx, Place(world.repository, 3), unit)

        assert latest == sorted(
            {r for r, n in expected if (r, n) in {(world.repository, 3), (world.other, 1)}}
        )
        assert held == (package in world.versions[3])


def test_a_link_is_found_in_the_versions_that_hold_it(big: Database, world: World) -> None:
    number, units = next(iter(world.links.items()))

    with big.transaction() as tx:
        found = holdings.find_versions(
            tx, [UnitId(Kind.PACKAGE_RELEASE_COMPONENT, min(units), number)]
        )

    assert found == [(world.repository, 2)]


def test_components_and_releases_of_a_package_and_back(big: Database, world: World) -> None:
    package = min(world.versions[3])
    place = Place(world.repository, 2)
    having = {world.components[number] for number, units in world.links.items() if package in units}

    with big.transaction() as tx:
        assert set(holdings.list_components_of_package(tx, place, package)) == having
        releases = holdings.list_releases_of_package(tx, place, package)
        of_release = holdings.list_components_of_release(tx, place, 1)
        in_another = holdings.list_components_of_package(tx, Place(world.repository, 3), package)

    assert len(releases) == len({(unit - min(world.components.values())) // 2 for unit in having})
    assert of_release == sorted(set(world.components.values()))[:2]
    assert in_another == []


def test_what_is_in_no_version_counts_as_orphaned(big: Database, world: World) -> None:
    with big.transaction() as tx:
        found = contents.list_units(tx, Selection(Kind.PACKAGE, orphaned_for=-1), 1000, 0)
        recent = contents.list_units(tx, Selection(Kind.PACKAGE, orphaned_for=60), 10, 0)

    held = world.versions[1] | world.versions[2]
    assert [row["id"] for row in found.rows] == [
        n for n in range(SIZE + 1000, 0, -1) if n not in held
    ]
    assert recent.count == 0


@pytest.mark.alone
def test_offset_60_000_costs_what_offset_0_costs(big: Database, world: World) -> None:
    def seconds(offset: int) -> float:
        best = 1.0
        with big.transaction() as tx:
            for _ in range(7):
                begun = time.perf_counter()
                contents.list_units(tx, packages(world, 2), 100, offset)
                best = min(best, time.perf_counter() - begun)
        return best

    seconds(0)
    at_start, deep = seconds(0), seconds(60_000)

    assert deep < 5 * at_start
    assert deep < 0.1


def test_artifacts_of_a_version_are_the_files_of_its_units(db: Database) -> None:
    with db.transaction() as tx:
        ids = rows.add_packages(tx, 5)
        digests = [
            tx.execute("select sha256 from packages where id = %s", (n,)).fetchone() for n in ids
        ]
        stored = [rows.add_artifact(tx, d["sha256"]) for d in digests[:3] if d]
        release = rows.add_artifact(tx, b"r" * 32)
        orphan = rows.add_artifact(tx, b"o" * 32)
        unit = rows.add_release_file(tx, "bookworm", {"dists/bookworm/InRelease": b"r" * 32})
        repository = rows.add_repository(tx, "one")
        rows.write_versions(
            tx,
            repository,
            [
                {},
                {
                    rows.unit_list(tx, Kind.PACKAGE): ids[1:],
                    rows.unit_list(tx, Kind.RELEASE_FILE): [unit],
                },
            ],
        )

        held = contents.list_artifacts(tx, ArtifactSelection(Place(repository, 1)), 100, 0)
        every = contents.list_artifacts(tx, ArtifactSelection(), 2, 1)
        orphaned = contents.list_artifacts(tx, ArtifactSelection(orphaned_for=-1), 10, 0)
        shown = contents.find_unit(tx, UnitId(Kind.RELEASE_FILE, unit))

    assert [row["id"] for row in held.rows] == [release, *reversed(stored[1:])]
    assert (every.count, [row["id"] for row in every.rows]) == (5, [release, stored[2]])
    assert [row["id"] for row in orphaned.rows] == [orphan]
    assert shown is not None
    assert shown["files"] == {"dists/bookworm/InRelease": release}


def test_units_that_do_not_exist_are_not_known(db: Database) -> None:
    with db.transaction() as tx:
        ids = rows.add_packages(tx, 2)
        component = rows.add_component(tx, "bookworm", "main")
        wanted = {
            UnitId(Kind.PACKAGE, ids[0]), UnitId(Kind.PACKAGE, 99),
            UnitId(Kind.RELEASE_COMPONENT, component), UnitId(Kind.SOURCE_PACKAGE, 1),
            UnitId(Kind.PACKAGE_RELEASE_COMPONENT, ids[0], 1),
        }  # fmt: skip

        known = contents.list_known(tx, wanted)

    assert known == {UnitId(Kind.PACKAGE, ids[0]), UnitId(Kind.RELEASE_COMPONENT, component)}
