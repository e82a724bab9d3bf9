"""The ids of content units, which clients keep: what they were they stay."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debfleet.identity import UnitId, UnitIds
from debfleet.model import Kind

KINDS = st.sampled_from(sorted(Kind))
IDS = st.integers(0, 2**48 - 1)
LISTS = st.integers(0, 2**26 - 1)
KEYS = st.binary(min_size=1, max_size=200)  # also longer than a block of the hash


@given(KEYS, KINDS, IDS, LISTS)
def test_an_id_is_read_as_what_it_was_made_of(key: bytes, kind: Kind, id: int, list: int) -> None:
    ids = UnitIds(key)
    assert ids.read(UUID(ids.uuid(kind, id, list))) == UnitId(kind, id, list)


@given(KEYS, KINDS, IDS, LISTS)
def test_an_id_is_a_uuid_whose_check_is_an_hmac(key: bytes, kind: Kind, id: int, list: int) -> None:
    text = UnitIds(key).uuid(kind, id, list)
    packed = (int(kind) << 74) | (list << 48) | id
    check = hmac.digest(key, packed.to_bytes(11, "big"), hashlib.blake2b)[:5]
    assert str(UUID(text)) == text
    assert UUID(text).version == 8
    assert UUID(text).int & (2**40 - 1) == int.from_bytes(check, "big")


def test_an_id_that_was_given_out_stays_as_it_is() -> None:
    assert UnitIds(b"key").uuid(Kind.PACKAGE, 60_000) == "01000000-0000-8000-80ea-60c4b60c8375"


@given(KINDS, IDS, st.integers(0, 127))
def test_an_id_with_another_bit_is_none_of_ours(kind: Kind, id: int, bit: int) -> None:
    ids = UnitIds(b"key")
    made = UUID(ids.uuid(kind, id))
    assert ids.read(UUID(int=made.int ^ (1 << bit))) is None


@pytest.mark.parametrize(("id", "list"), [(2**48, 0), (0, 2**26)])
def test_what_does_not_fit_is_refused(id: int, list: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        UnitIds(b"key").uuid(Kind.PACKAGE, id, list)
