"""The Terraform door without a server: how runs are shown, and addresses that carry their own permission."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runyard.dialects.door import Call
from runyard.dialects.terraform.addresses import Addresses, Purpose
from runyard.dialects.terraform.runs import _literal
from runyard.dialects.terraform.runviews import (
    apply_status,
    bare,
    named,
    plan_status,
    status_of,
    still_applying,
)
from runyard.infrastructure.runs.model import Origin, Run, RunKind, RunStatus, Step, Trigger
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import NotFound
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId, RecordId, RunId, WorkspaceId

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run(status: RunStatus, **more: Any) -> Run:
    return Run(
        **{
            "id": RunId.new(),
            "record_id": RecordId.new(),
            "account_id": AccountId.new(),
            "project_id": ProjectId.new(),
            "project_path": "/",
            "workspace_id": WorkspaceId.new(),
            "workspace_name": "net",
            "kind": RunKind.APPLY,
            "trigger": Trigger.CLI,
            "status": status,
            "step": Step.QUEUED,
            "title": "",
            "actor": "ann",
            "door": "terraform",
            "origin": Origin(),
            "runner_type": "firefly",
            "vcs_type": "",
            "repository": "",
            "repository_url": "",
            "iac_type": "terraform",
            "iac_version": "",
            "auto_apply": False,
            "plan_task_id": ExecutionId.new(),
            "created_at": NOW,
            "updated_at": NOW,
            **more,
        }
    )


WAITING = {"step": Step.APPROVAL}
ENDED = {"ended_at": NOW, "step": Step.DONE}
PLANNED = {"planned_at": NOW}


@pytest.mark.parametrize(
    ("status", "more", "shown"),
    [
        (RunStatus.PENDING, {}, ("pending", "pending", "pending")),
        (RunStatus.PLANNING, {}, ("planning", "running", "pending")),
        (RunStatus.INIT_ERROR, ENDED, ("errored", "errored", "unreachable")),
        (RunStatus.PLAN_ERROR, ENDED, ("errored", "errored", "unreachable")),
        (RunStatus.PLAN_NO_CHANGES, ENDED, ("planned_and_finished", "finished", "unreachable")),
        (RunStatus.PLAN_SUCCESS, ENDED, ("planned_and_finished", "finished", "unreachable")),
        (RunStatus.PLAN_SUCCESS, WAITING, ("planned", "finished", "pending")),
        (
            RunStatus.PLAN_SUCCESS,
            {**WAITING, "saved": True},
            ("planned_and_saved", "finished", "pending"),
        ),
        (RunStatus.PLAN_SUCCESS, {"step": Step.APPLY}, ("confirmed", "finished", "pending")),
        (RunStatus.BLOCKED, WAITING, ("planned", "finished", "pending")),
        (RunStatus.BLOCKED, ENDED, ("errored", "finished", "unreachable")),
        (RunStatus.ACKNOWLEDGED, {}, ("confirmed", "finished", "pending")),
        (RunStatus.APPLYING, {}, ("applying", "finished", "running")),
        (RunStatus.APPLY_SUCCESS, ENDED, ("applied", "finished", "finished")),
        (RunStatus.APPLY_NO_CHANGES, ENDED, ("applied", "finished", "finished")),
        (RunStatus.APPLY_ERROR, ENDED, ("errored", "finished", "errored")),
        (RunStatus.DISCARDED, ENDED, ("discarded", "canceled", "unreachable")),
        (RunStatus.DISCARDED, {**ENDED, **PLANNED}, ("discarded", "finished", "unreachable")),
        (RunStatus.CANCELLED, ENDED, ("canceled", "canceled", "unreachable")),
        (
            RunStatus.CANCELLED,
            {**ENDED, **PLANNED, "apply_started_at": NOW},
            ("canceled", "finished", "canceled"),
        ),
    ],
)
def test_status_of_every_run_has_a_word(
    status: RunStatus, more: dict[str, Any], shown: tuple[str, str, str]
) -> None:
    found = run(status, **more)
    assert (status_of(found), plan_status(found), apply_status(found)) == shown


def test_status_words_cover_every_status() -> None:
    for status in RunStatus:
        assert all(word(run(status)) for word in (status_of, plan_status, apply_status))


def test_failed_apply_is_shown_as_applying_for_a_moment_only() -> None:
    failed = run(RunStatus.APPLY_ERROR, **ENDED, apply_task_id=ExecutionId.new())
    assert status_of(still_applying(failed, NOW + timedelta(seconds=5))) == "applying"
    assert still_applying(failed, NOW + timedelta(seconds=11)) is failed
    elsewhere = msgspec.structs.replace(failed, door="firefly")
    assert still_applying(elsewhere, NOW) is elsewhere
    unapplied = run(RunStatus.CANCELLED, **ENDED)
    assert still_applying(unapplied, NOW) is unapplied


def test_names_of_runs_are_read_in_every_form() -> None:
    run_id = str(RunId.new())
    assert {bare(named(kind, run_id)) for kind in ("run", "plan", "apply", "polchk")} == {run_id}
    assert bare(run_id) == run_id


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"text"', "text"),
        ('"a \\"b\\" \\n c"', 'a "b" \n c'),
        ('"$${x} %%{y}"', "${x} %{y}"),
        ("5", "5"),
        ("true", "true"),
        ('["a"]', '["a"]'),
        ('"open', '"open'),
        ('"bad \\q"', '"bad \\q"'),
        ("", ""),
        ('"', '"'),
    ],
)
def test_literal_of_the_command_line_is_what_was_typed(written: str, meant: str) -> None:
    assert _literal(written) == meant


async def _nothing(*given: object) -> Any:
    return {}


def call(host: str) -> Call:
    scope = {"type": "http", "scheme": "http", "headers": [(b"host", host.encode())]}
    return Call(scope, _nothing, _nothing, {}, "0" * 36)


def test_addresses_open_what_they_were_made_for_and_nothing_else(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "keys")
    addresses = Addresses(vault, None)
    made = addresses.make(call("here:1"), Purpose.LOG, "subject", "a b c")
    assert made.startswith("http://here:1/api/v2/objects/log/")
    sealed = made.rpartition("/")[2]
    assert addresses.open(sealed, Purpose.LOG) == ("subject", "a b c")
    other = Addresses(Vault(tmp_path / "other"), "https://public.example/")
    assert other.make(call("here:1"), Purpose.STATE, "x").startswith("https://public.example/api/v2/objects/")
    wrong = [sealed[:-1], sealed[:-4] + "AAAA", "", "x", "é", "A" * 200]
    for text, purpose in [(sealed, Purpose.STATE), *((one, Purpose.LOG) for one in wrong)]:
        with pytest.raises(NotFound):
            addresses.open(text, purpose)
    with pytest.raises(NotFound):
        other.open(sealed, Purpose.LOG)
    later = Addresses(vault, None, lambda: datetime.now(UTC) + timedelta(days=2))
    with pytest.raises(NotFound):
        later.open(sealed, Purpose.LOG)
