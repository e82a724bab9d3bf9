"""Random syncs, modifies and deletions of two repositories against a model in sets.

A bitmap that goes wrong lies quietly: here everything that every version holds is compared.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from debfleet.db import units, versions
from debfleet.db.connect import Database, Tx
from debfleet.errors import ContentOverwrite, DuplicatePackages, PathClash
from debfleet.identity import UnitId
from debfleet.model import Kind
from version_rows import (
    STANZA_KEY,
    Unit,
    Want,
    add_package_index,
    add_release,
    add_release_file,
    add_repository,
    add_task,
    add_task_units,
    expected_counts,
    numbered,
    package_ids,
    read_counts,
    read_versions,
    stanza,
    want,
)

STEPS = int(os.environ.get("DEBFLEET_TEST_MODEL_STEPS", "130"))  # more in `make fuzz`
PER_SYNC = {Kind.RELEASE_FILE, Kind.PACKAGE_INDEX}


@dataclass
class Package:
    key: tuple[str, str, str]
    sha256: bytes
    architecture: str
    path: str


@dataclass
class World:
    """All that there is to choose from, as the database knows it."""

    packages: dict[int, Package] = field(default_factory=dict)
    indices: dict[int, set[int]] = field(default_factory=dict)
    components: dict[tuple[str, str], int] = field(default_factory=dict)
    releases: dict[int, str] = field(default_factory=dict)
    others: list[Unit] = field(default_factory=list)  # release files and package indices
    lists: dict[tuple[int, str], int] = field(default_factory=dict)


class Refused(Exception):
    """What the model expects an error for."""


class Model:
    """A repository as a dict of sets."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.versions: dict[int, set[Unit]] = {0: set()}
        self.last = 0
        self.retain: int | None = None
        self.replaced = 0  # by the version made last

    def make(self, base: set[Unit], wanted: set[Unit], *, mirror: bool, overwrite: bool) -> bool:
        """A version of ``wanted`` on top of ``base``; whether there is a new one."""
        base = {unit for unit in base if unit[0] not in PER_SYNC}
        rivals = self._rivals(base, wanted)
        releases = self._old_releases(base, wanted)
        if not mirror and not overwrite and rivals | releases:
            raise Refused
        gone = {unit[2] for unit in rivals}
        kept = {
            unit
            for unit in base - rivals - releases
            if unit[0] != Kind.PACKAGE_RELEASE_COMPONENT or unit[2] not in gone
        }
        content = wanted if mirror else wanted | kept
        self.replaced = 0 if mirror else len(rivals)
        self._check_paths(content)
        if content == self.versions[max(self.versions)]:
            return False
        self.last += 1
        self.versions[self.last] = content
        if self.retain is not None:
            for number in sorted(self.versions)[: -self.retain]:
                del self.versions[number]
        return True

    def _rivals(self, base: set[Unit], wanted: set[Unit]) -> set[Unit]:
        """Packages of the base that give way; refuses two files for one package."""
        packages = self.world.packages
        asked = {unit[2] for unit in wanted if unit[0] == Kind.PACKAGE}
        held = {unit[2] for unit in base if unit[0] == Kind.PACKAGE}
        by_key: dict[tuple[str, str, str], set[int]] = {}
        for id in asked - held:
            by_key.setdefault(packages[id].key, set()).add(id)
        gone = set()
        for key, fresh in by_key.items():
            held_wanted = {id for id in asked & held if packages[id].key == key}
            if len({packages[id].sha256 for id in fresh | held_wanted}) > 1:
                raise Refused
            gone |= {id for id in held - asked if packages[id].key == key}
        return {(Kind.PACKAGE, 0, id) for id in gone}

    def _check_paths(self, content: set[Unit]) -> None:
        packages = [self.world.packages[unit[2]] for unit in content if unit[0] == Kind.PACKAGE]
        if len({p.path for p in packages}) < len({(p.path, p.sha256) for p in packages}):
            raise Refused

    def _old_releases(self, base: set[Unit], wanted: set[Unit]) -> set[Unit]:
        names = self.world.releases
        new = {names[u[2]] for u in wanted - base if u[0] == Kind.RELEASE}
        held = {u for u in base - wanted if u[0] == Kind.RELEASE}
        return {u for u in held if names[u[2]] in new}


def test_versions_hold_what_a_model_in_sets_says(db: Database) -> None:
    dice = random.Random(1)
    world = _make_world(db)
    with db.transaction() as tx:
        fleet = {add_repository(tx, f"r{i}"): Model(world) for i in range(2)}
    outcomes: dict[str, int] = {}

    for _ in range(STEPS):
        repository, model = dice.choice([*fleet.items()])
        step = dice.choices([_sync, _modify, _delete, _retain], [42, 40, 12, 6])[0]
        outcome = step(db, dice, model, repository)
        outcomes[f"{step.__name__} {outcome}"] = outcomes.get(f"{step.__name__} {outcome}", 0) + 1
        _compare(db, model, repository)

    # The dice must have met every kind of outcome, or this proves less than it seems to.
    kinds = ("new", "same", "replaced", "refused")
    met = {f"{step} {kind}" for step in ("_sync", "_modify") for kind in kinds}
    assert met | {"_sync clash", "_delete done", "_retain set"} <= outcomes.keys(), outcomes


def _compare(db: Database, model: Model, repository: int) -> None:
    with db.transaction() as tx:
        found = read_versions(tx, repository)
        counts = read_counts(tx, repository)
    assert found.keys() == model.versions.keys()
    for number, held in model.versions.items():
        assert found[number] == held, f"version {number}"
    assert counts == expected_counts(model.versions)


def _make_world(db: Database) -> World:
    """Packages on both sides of chunk borders, some of them rivals; indices that share them."""
    dice = random.Random(7)
    names = [f"p{i}" for i in range(12)]
    pool = [
        stanza(name, version, architecture, build=build, note=note)
        for name in names
        for version in ("1", "2")
        for architecture in ("amd64", "all", "armhf")
        for build, note in (("", ""), ("", " other"), ("rebuilt", ""))
    ]
    pool += [stanza(name, path="pool/latest.deb") for name in ("q1", "q2", "q3")]
    usual = [text for text in pool if b" other" not in text]
    world = World()
    index = None
    with db.transaction() as tx:
        for turn in range(14):
            tx.execute("select setval('packages_id_seq', %s)", (4096 * (turn + 1) - 4,))
            chosen = dice.sample(usual if turn % 3 else pool, 10)
            digest = bytes([turn]) * 32
            stanzas = numbered(chosen)
            index = units.ingest_index(tx, STANZA_KEY, digest, stanzas, before=index).index
            world.indices[index] = package_ids(tx, index)
            assert len(world.indices[index]) == len(chosen)
        for row in tx.execute("select * from packages"):
            key = (row["name"], row["version"], row["architecture"])
            world.packages[row["id"]] = Package(
                key, row["sha256"], row["architecture"], row["relative_path"]
            )
        for i, distribution in enumerate(("stable", "stable", "next", "next")):
            world.releases[add_release(tx, distribution, str(i))] = distribution
        for i in range(3):
            world.others.append((Kind.RELEASE_FILE, 0, add_release_file(tx, "stable", str(i))))
            world.others.append((Kind.PACKAGE_INDEX, 0, add_package_index(tx, "p", str(i))))
    return world


def _sync(db: Database, dice: random.Random, model: Model, repository: int) -> str:
    world = model.world
    wants = [
        Want(
            index,
            component=dice.choice(["main", "contrib"]),
            architecture=dice.choice(["amd64", "all", ""]),
            distribution=dice.choice(["stable", "next"]),
            accept=dice.choice([None, ("amd64",), ("all",), ("amd64", "all")]),
            state=dice.choice(["known", "ingested", "ingested", "unchanged"]),
        )
        for index in dice.sample(sorted(world.indices), dice.choice([0, 1, 1, 2, 3]))
    ]
    release = dice.sample(sorted(world.releases), dice.choice([0, 0, 1]))
    own: list[Unit] = [(Kind.RELEASE, 0, id) for id in release]
    own += dice.sample(world.others, dice.choice([0, 1, 1, 2]))
    mirror = dice.random() < 0.25

    def work(tx: Tx) -> versions.NewVersion | None:
        task = add_task(tx)
        want(tx, task, wants)
        for kind, _, id in own:
            add_task_units(tx, task, Kind(kind), [id])
        return versions.assemble(
            tx, repository=repository, task=task, mirror=mirror, options={"mirror": mirror}
        )

    latest = model.versions[max(model.versions)]
    return _both(
        db,
        model,
        work,
        lambda: model.make(latest, _wanted(db, world, wants, own), mirror=mirror, overwrite=True),
    )


def _wanted(db: Database, world: World, wants: list[Want], own: list[Unit]) -> set[Unit]:
    """What a sync of these indices asks for. Components and lists get their ids from the
    database, which made them in assemble just now."""
    with db.transaction() as tx:
        for row in tx.execute("select * from release_components"):
            world.components[row["distribution"], row["component"]] = row["id"]
        for row in tx.execute("select * from content_lists where kind = 11"):
            world.lists[row["release_component"], row["index_architecture"]] = row["id"]
    wanted = set(own)
    for w in wants:
        if w.state == "unchanged" or w.index is None:
            continue
        for id in world.indices[w.index]:
            architecture = world.packages[id].architecture
            if w.accept is None or architecture in w.accept:
                # Absent where the database refused, which the packages alone decide.
                component = world.components.get((w.distribution, w.component), -1)
                place = architecture if architecture == "all" else w.architecture or architecture
                wanted.add((Kind.PACKAGE, 0, id))
                wanted.add((Kind.RELEASE_COMPONENT, 0, component))
                list_ = world.lists.get((component, place), -1)
                wanted.add((Kind.PACKAGE_RELEASE_COMPONENT, list_, id))
    return wanted


def _modify(db: Database, dice: random.Random, model: Model, repository: int) -> str:
    world = model.world
    latest = max(model.versions)
    base = dice.choice(sorted(model.versions)) if dice.random() < 0.2 else None
    start = model.versions[latest if base is None else base]
    everything: list[Unit] = [(Kind.PACKAGE, 0, id) for id in world.packages]
    everything += [(Kind.RELEASE, 0, id) for id in world.releases]
    everything += world.others
    everything += [(Kind.RELEASE_COMPONENT, 0, id) for id in world.components.values()]
    everything += [(Kind(11), list_, id) for list_ in world.lists.values() for id in world.packages]
    held = sorted(start)
    add = dice.sample(everything, dice.choice([0, 1, 3]))
    add += [
        (Kind.PACKAGE, 0, id) for id in dice.sample(sorted(world.packages), dice.choice([0, 1, 9]))
    ]
    add += dice.sample(held, min(len(held), dice.choice([0, 0, 2])))
    gone = dice.sample(held, min(len(held), dice.choice([0, 1, 5])))
    gone += dice.sample(everything, dice.choice([0, 1]))
    all_gone = dice.random() < 0.05
    overwrite = dice.random() < 0.8

    def work(tx: Tx) -> versions.NewVersion | None:
        return versions.modify(
            tx,
            repository=repository,
            task=add_task(tx),
            add=_units(add),
            remove="*" if all_gone else _units(gone),
            base_number=base,
            overwrite=overwrite,
        )

    packages_gone = {unit[2] for unit in gone if unit[0] == Kind.PACKAGE}
    less = {u for u in start - set(gone) if u[0] != Kind(11) or u[2] not in packages_gone}
    rest = set[Unit]() if all_gone else less
    return _both(
        db, model, work, lambda: model.make(rest, set(add), mirror=False, overwrite=overwrite)
    )


def _units(chosen: Iterable[Unit]) -> list[UnitId]:
    return [UnitId(Kind(kind), id, list_) for kind, list_, id in chosen]


def _both(
    db: Database,
    model: Model,
    real: Callable[[Tx], versions.NewVersion | None],
    modelled: Callable[[], bool],
) -> str:
    """Do it in the database and in the model: the same outcome."""
    try:
        made = db.run(real)
    except (DuplicatePackages, ContentOverwrite):
        with pytest.raises(Refused):
            modelled()
        return "refused"
    except PathClash:
        with pytest.raises(Refused):
            modelled()
        return "clash"
    assert modelled() == (made is not None)
    if made is None:
        return "same"
    assert made.replaced == model.replaced
    return "replaced" if made.replaced else "new"


def _delete(db: Database, dice: random.Random, model: Model, repository: int) -> str:
    if len(model.versions) == 1:
        return "nothing"
    number = dice.choice([*sorted(model.versions), max(model.versions)])
    with db.transaction() as tx:
        versions.delete_version(tx, repository, number)
    del model.versions[number]
    return "done"


def _retain(db: Database, dice: random.Random, model: Model, repository: int) -> str:
    model.retain = dice.choice([None, None, 3, 8])
    with db.transaction() as tx:
        tx.execute(
            "update repositories set retain_repo_versions = %s where id = %s",
            (model.retain, repository),
        )
    return "set"
