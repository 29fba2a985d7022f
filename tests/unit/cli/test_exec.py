"""`exec` and `run` against a fake server: output, status, who ended it, and what is cleaned up."""

from collections.abc import Callable

import pytest

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli


def test_exec_with_argv_prints_output_and_returns_its_status(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    ran = cli("exec", "web", "--", "both")
    assert (ran.status, ran.out, ran.err) == (3, "out\n", "err\n")


def test_exec_with_options_sends_them_in_the_start_frame(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    ran = cli("exec", "web", "-e", "A=1", "--cwd", "/srv", "--timeout", "5m", "--", "start", "x y", "-i")
    assert ran.expect(0).json() == {
        "type": "start",
        "command": "start",
        "args": ["x y", "-i"],
        "env": {"A": "1"},
        "cwd": "/srv",
        "timeout_secs": 300,
        "tty": False,
    }


def test_exec_with_shell_line_sends_no_args(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    fake.programs["start | cat"] = fake.programs["start"]
    assert "args" not in cli("exec", "web", "-c", "start | cat").expect(0).json()


def test_exec_with_bare_variable_copies_ours(fake: NativeServer, cli_for: Callable[..., Cli]) -> None:
    fake.add_runtime("web")
    ran = cli_for(fake.url, fake.token, SESAME="open")("exec", "-e", "SESAME", "web", "start")
    assert ran.expect(0).json()["env"] == {"SESAME": "open"}


@pytest.mark.parametrize(
    ("program", "status"), [("true", 0), ("false", 1), ("missing", 127), ("slow", 124), ("drop", 125)]
)
def test_exec_status_is_the_remote_one_or_125(
    fake: NativeServer, cli: Cli, program: str, status: int
) -> None:
    fake.add_runtime("web")
    assert cli("exec", "web", "--", program).status == status


def test_exec_ended_by_timeout_says_so_and_where_the_log_is(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    ran = cli("exec", "web", "--", "slow")
    assert "ended by timeout" in ran.err
    assert "runyard logs 6745a2f09b1c8e5d3f7a0001" in ran.err


def test_exec_with_json_prints_one_document_with_who_ended_it(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    done = cli("exec", "--json", "web", "--", "slow").expect(124).json()
    assert done["ended_by"] == "timeout"
    both = cli("exec", "--json", "web", "--", "both").expect(3)
    assert both.err == ""
    assert both.json() == {
        "exit_code": 3,
        "execution_id": "6745a2f09b1c8e5d3f7a0002",
        "runtime_id": None,
        "ended_by": None,
        "reason": None,
        "stdout": "out\n",
        "stderr": "err\n",
        "stdout_truncated": False,
        "stderr_truncated": False,
        "duration_ms": 12.5,
    }


@pytest.mark.parametrize(
    "line",
    [
        ["exec", "nothing", "--", "true"],
        ["exec", "web"],
        ["exec", "web", "-c", "a", "--", "b"],
        ["exec", "web", "--timeout", "soon", "--", "true"],
        ["exec", "web", "-e", "1=2", "--", "true"],
        ["run", "--no-such-option", "--", "true"],
    ],
)
def test_remote_command_that_never_ran_ends_with_125(fake: NativeServer, cli: Cli, line: list[str]) -> None:
    fake.add_runtime("web")
    ran = cli(*line)
    assert ran.status == 125
    assert ran.out == ""
    assert ran.err.startswith("runyard: ")


def test_run_creates_a_runtime_and_deletes_it_after(fake: NativeServer, cli: Cli) -> None:
    fake.creating_reads = 1
    ran = cli("run", "--memory", "2G", "--network", "none", "--", "both")
    assert (ran.status, ran.out) == (3, "out\n")
    assert fake.seen[0].json() == {"memory_mib": 2048, "egress": "none"}
    assert fake.runtimes == {}


def test_run_with_keep_leaves_the_runtime_and_says_how_to_use_it(fake: NativeServer, cli: Cli) -> None:
    ran = cli("run", "--keep", "--name", "lab", "true")
    assert [one["name"] for one in fake.runtimes.values()] == ["lab"]
    assert "runtime lab is kept" in ran.expect(0).err


def test_run_with_lost_connection_still_deletes(fake: NativeServer, cli: Cli) -> None:
    assert cli("run", "--", "drop").status == 125
    assert fake.runtimes == {}


def test_run_with_crashed_runtime_deletes_it_and_says_why(fake: NativeServer, cli: Cli) -> None:
    fake.programs["true"] = lambda _session: pytest.fail("must not run")
    fake.creating_reads = 1
    fake.add_runtime("other")
    ran = cli("run", "--name", "web", "--", "drop")
    assert ran.status == 125
    assert [one["name"] for one in fake.runtimes.values()] == ["other"]


def test_run_that_cannot_delete_keeps_the_remote_status(fake: NativeServer, cli: Cli) -> None:
    def both_then_break(session: object) -> int:
        fake.failures = [(500, {"code": "internal", "detail": "disk on fire"})]
        return 3

    fake.programs["both"] = both_then_break
    ran = cli("run", "--", "both").expect(3)
    assert "disk on fire" in ran.err
    assert "runyard runtime delete" in ran.err
