"""The rules of state versions and locks, without a database: what follows from what, and what a document says."""

import itertools
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.infrastructure.state.document import read_facts, read_outputs
from runyard.infrastructure.state.errors import BadState, LockLost, StateLocked
from runyard.infrastructure.state.model import Add, Facts, HolderKind, Lock, Stale, Unchanged, judge
from runyard.infrastructure.state.service import check_lock
from runyard.kernel.ids import AccountId

_facts = st.builds(
    Facts,
    serial=st.integers(0, 5),
    lineage=st.sampled_from(["a", "b"]),
    md5=st.sampled_from(["x", "y", "z"]),
    size=st.just(1),
)


def facts(serial: int = 1, lineage: str = "l", md5: str = "x") -> Facts:
    return Facts(serial=serial, lineage=lineage, md5=md5, size=1)


@given(st.lists(st.tuples(_facts, st.booleans()), max_size=12))
def test_judge_over_any_sequence_keeps_history_in_order(writes: list[tuple[Facts, bool]]) -> None:
    """Whatever is written: without force, serials of a lineage only grow and no two neighbours are the same bytes."""
    kept: list[tuple[Facts, bool]] = []
    for new, force in writes:
        current = kept[-1][0] if kept else None
        decision = judge(current, new, force=force)
        if isinstance(decision, Add):
            kept.append((new, force))
        elif isinstance(decision, Unchanged):
            assert current is not None
            assert current.md5 == new.md5
        else:
            assert not force
    for (before, _), (after, forced) in itertools.pairwise(kept):
        assert before.md5 != after.md5
        assert forced or (before.lineage == after.lineage and before.serial < after.serial)


@given(st.one_of(st.none(), _facts), _facts)
def test_judge_force_is_never_stale(current: Facts | None, new: Facts) -> None:
    assert not isinstance(judge(current, new, force=True), Stale)


@pytest.mark.parametrize(
    ("new", "word"),
    [
        (facts(serial=2, lineage="other", md5="y"), "lineage"),
        (facts(serial=0, md5="y"), "newer"),
        (facts(serial=1, md5="y"), "other content"),
    ],
)
def test_judge_what_does_not_follow_is_stale_with_the_reason(new: Facts, word: str) -> None:
    decision = judge(facts(), new)
    assert isinstance(decision, Stale)
    assert word in decision.reason


def lock(lock_id: str) -> Lock:
    return Lock(
        workspace_id="w",
        account_id=AccountId("a" * 24),
        lock_id=lock_id,
        holder=HolderKind.CLIENT,
        actor="ann",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        info={"Who": "ann@laptop", "Operation": "OperationTypeApply"},
    )


def test_check_lock_lets_only_the_holder_write() -> None:
    check_lock(None, None)
    check_lock(lock("1"), "1")
    with pytest.raises(StateLocked) as locked:
        check_lock(lock("1"), "2")
    assert locked.value.holder is not None
    with pytest.raises(StateLocked):
        check_lock(lock("1"), None)
    with pytest.raises(LockLost):
        check_lock(None, "1")


def test_lock_document_has_all_that_terraform_shows() -> None:
    shown = lock("1").document()
    assert shown == {
        "ID": "1",
        "Operation": "OperationTypeApply",
        "Info": "",
        "Who": "ann@laptop",
        "Version": "",
        "Created": "2026-01-01T00:00:00.000000Z",
        "Path": "",
    }


def state(**members: object) -> bytes:
    return json.dumps({"version": 4, "serial": 3, "lineage": "l", **members}).encode()


def test_read_facts_counts_instances_of_managed_resources() -> None:
    resources = [
        {"mode": "managed", "type": "t", "instances": [{}, {"attributes": {"x": [1, {}]}}]},
        {"mode": "data", "type": "t", "instances": [{}]},
    ]
    found = read_facts(state(resources=resources, terraform_version="1.11.4"))
    assert (found.serial, found.lineage, found.resources, found.terraform_version) == (3, "l", 2, "1.11.4")


def test_read_facts_takes_a_state_that_opentofu_encrypted() -> None:
    sealed = {
        "serial": 7,
        "lineage": "l",
        "meta": {"k": "v"},
        "encrypted_data": "AAAA",
        "encryption_version": "v0",
    }
    assert read_facts(json.dumps(sealed).encode()).serial == 7


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"serial": 1}',
        b'{"serial": "1", "lineage": "hunter2"}',
        b'{"serial": -1, "lineage": "x"}',
        b'{"serial": 1, "lineage": "' + b"x" * 1000 + b'"}',
        b'{"serial": 1, "lineage": "hunter2", "resources": "hunter2"}',
        b'{"serial": 9999999999999999999999, "lineage": "x"}',
        b'\xff{"serial": 1, "lineage": "x"}',
        b'{"serial": 1, "lineage": "x"',
        b"[" * 100_000,
    ],
)
def test_read_facts_of_anything_else_is_bad_and_quotes_nothing(body: bytes) -> None:
    with pytest.raises(BadState) as bad:
        read_facts(body)
    assert "hunter2" not in bad.value.message


def test_read_outputs_gives_values_with_types() -> None:
    outputs = {
        "a": {"value": "v", "type": "string"},
        "b": {"value": [1], "type": ["list", "number"], "sensitive": True},
    }
    found = read_outputs(state(outputs=outputs))
    assert (found["a"].value, found["b"].type, found["b"].sensitive) == ("v", ["list", "number"], True)
    assert read_outputs(state()) == {}
