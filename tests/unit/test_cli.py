"""The command line against a fake server: what is printed where, and with which status it ends."""

import base64
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli, environment_for
from tests.support.server import free_port


@pytest.fixture
def fake() -> Iterator[NativeServer]:
    """Serve the native API from memory."""
    with NativeServer() as one:
        yield one


@pytest.fixture
def cli_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Cli]:
    """Return a maker of command lines with a home of their own."""

    def make(url: str | None, token: str | None, **more: str) -> Cli:
        return Cli(monkeypatch, capfd, environment_for(tmp_path, url, token) | more)

    return make


@pytest.fixture
def cli(fake: NativeServer, cli_for: Callable[..., Cli]) -> Cli:
    """Return the command line, pointed at the fake by the environment."""
    return cli_for(fake.url, fake.token)


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


def test_ps_shows_only_what_runs(fake: NativeServer, cli: Cli) -> None:
    running = fake.add_execution(status="running", exit_code=None)
    fake.add_execution(status="failed")
    assert cli("ps", "--output", "name").expect(0).out == f"{running}\n"
    assert len(cli("ps", "-a", "--output", "name").out.splitlines()) == 2


def test_ps_with_nothing_keeps_stdout_empty(cli: Cli) -> None:
    ran = cli("ps").expect(0)
    assert (ran.out, ran.err) == ("", "nothing is running\n")
    assert cli("ps", "--json").json() == {"items": []}


def test_runtime_create_with_wait_prints_the_running_one(fake: NativeServer, cli: Cli) -> None:
    fake.creating_reads = 2
    made = cli("runtime", "create", "web", "-e", "A=1", "--json").expect(0).json()
    assert (made["name"], made["status"], made["environment"]) == ("web", "running", {"A": "1"})


def test_runtime_list_as_table_has_one_line_a_runtime(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web\x1b[31m")
    fake.add_runtime("db", status="paused")
    lines = cli("runtime", "list").expect(0).out.splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "ID", "MEMORY", "NETWORK", "CREATED"]
    assert lines[1].startswith("web\\x1b[31m"), "control characters of the server are shown, not sent"
    assert len(lines) == 3
    wide = cli("runtime", "list", "--wide").out.splitlines()[0]
    assert "PROJECT" in wide


def test_runtime_list_with_status_filters(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    paused = fake.add_runtime("db", status="paused")["id"]
    assert cli("runtime", "list", "--status", "paused,suspended", "--output", "name").out == f"{paused}\n"


@pytest.mark.parametrize(
    "form", ["{id}", "{url}/runyard/v1/runtimes/{id}", "{url}/runtimes/{id}/files?x=1#top", "web"]
)
def test_runtime_get_accepts_id_name_and_pasted_url(fake: NativeServer, cli: Cli, form: str) -> None:
    runtime_id = fake.add_runtime("web")["id"]
    given = form.format(id=runtime_id, url=fake.url)
    assert cli("runtime", "get", given, "--json").expect(0).json()["id"] == runtime_id


@pytest.mark.parametrize(
    ("verb", "status"), [("stop", "shutdown"), ("pause", "paused"), ("start", "running")]
)
def test_runtime_order_prints_the_new_status(fake: NativeServer, cli: Cli, verb: str, status: str) -> None:
    fake.add_runtime("web")
    assert cli("runtime", verb, "web", "--json").expect(0).json()["items"][0]["status"] == status


def test_runtime_delete_without_terminal_needs_yes(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    refused = cli("runtime", "delete", "web").expect(2)
    assert "--yes" in refused.err
    assert cli("runtime", "delete", "web", "--yes", "--json").expect(0).json() == {"deleted": ["web"]}
    assert fake.runtimes == {}


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (["runtime", "get", "nothing"], 3, "not_found"),
        (["runtime", "pause", "stopped"], 6, "failed_precondition"),
        (["runtime", "no-such-verb"], 2, "usage"),
        (["runtime", "list", "--limit", "0"], 2, "usage"),
        (["--profile", "nowhere", "ps"], 2, "usage"),
    ],
)
def test_failure_ends_with_its_status_in_text_and_json(
    fake: NativeServer, cli: Cli, line: list[str], status: int, code: str
) -> None:
    fake.add_runtime("stopped", status="shutdown")
    plain = cli(*line)
    assert (plain.status, plain.out) == (status, "")
    error = cli(*line, "--json").expect(status).error()
    assert set(error) == {"code", "message", "exit_status", "http_status", "request_id"}
    assert (error["code"], error["exit_status"]) == (code, status)


def test_wrong_token_ends_with_4_and_names_the_server(
    fake: NativeServer, cli_for: Callable[..., Cli]
) -> None:
    ran = cli_for(fake.url, "wrong")("ps").expect(4)
    assert fake.url in ran.err
    assert "wrong" not in ran.err
    assert "request id: req-1" in ran.err


def test_missing_server_ends_with_1_and_says_what_to_do(cli_for: Callable[..., Cli]) -> None:
    ran = cli_for(f"http://127.0.0.1:{free_port()}", None)("ps").expect(1)
    assert "runyard serve" in ran.err


def test_files_round_trip_with_put_get_and_cp(fake: NativeServer, cli: Cli, tmp_path: Path) -> None:
    runtime_id = fake.add_runtime("web")["id"]
    payload = bytes(range(256)) * 5000
    source, back = tmp_path / "a.bin", tmp_path / "b.bin"
    source.write_bytes(payload)
    cli("runtime", "files", "put", str(source), "web", "/srv/a.bin").expect(0)
    assert fake.files[(runtime_id, "/srv/a.bin")] == payload
    cli("runtime", "files", "get", "web", "/srv/a.bin", str(back)).expect(0)
    assert back.read_bytes() == payload
    done = cli("runtime", "cp", str(source), "web:/opt/", "--json").expect(0).json()
    assert done == {"path": "web:/opt/a.bin", "bytes": len(payload)}
    (tmp_path / "in").mkdir()
    cli("runtime", "cp", "web:/opt/a.bin", str(tmp_path / "in")).expect(0)
    assert (tmp_path / "in" / "a.bin").read_bytes() == payload


def test_file_get_that_fails_leaves_no_local_file(fake: NativeServer, cli: Cli, tmp_path: Path) -> None:
    fake.add_runtime("web")
    cli("runtime", "files", "get", "web", "/nothing", str(tmp_path / "x")).expect(3)
    assert not [one for one in tmp_path.iterdir() if one.name.startswith("x")]


@pytest.mark.parametrize(
    "line",
    [
        ["runtime", "cp", "a", "b"],
        ["runtime", "cp", "web:/a", "web:/b"],
        ["runtime", "cp", "/", "web:/b"],
        ["runtime", "cp", "/no/such/file", "web:/b"],
        ["runtime", "files", "get", "web", "/x", "--json"],
    ],
)
def test_copy_with_wrong_ends_is_wrong_usage(fake: NativeServer, cli: Cli, line: list[str]) -> None:
    fake.add_runtime("web")
    assert cli(*line).status == 2


def test_checkpoint_life_cycle(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    made = cli("checkpoint", "create", "web", "--name", "clean", "--json").expect(0).json()
    assert cli("checkpoint", "list", "--output", "name").out == f"{made['id']}\n"
    assert cli("checkpoint", "get", "clean", "--json").json()["runtime_name"] == "web"
    cli("runtime", "create", "copy", "--checkpoint", made["id"]).expect(0)
    assert fake.seen[-1].json() == {"name": "copy", "checkpoint_id": made["id"]}
    cli("checkpoint", "delete", "clean", "--yes").expect(0)
    assert fake.checkpoints == {}


def test_execution_list_sends_its_filters(fake: NativeServer, cli: Cli) -> None:
    fake.add_execution(status="failed", exit_code=2)
    ran = cli(
        "execution", "list", "--status", "failed,timeout", "--text", "ma", "--since", "2026-01-01T00:00:00Z"
    )
    assert "failed" in ran.expect(0).out
    assert fake.seen[0].query == {
        "status": "failed,timeout",
        "text": "ma",
        "created_after": "2026-01-01T00:00:00Z",
        "limit": "50",
    }


def test_execution_get_shows_what_is_known(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(status="failed", exit_code=2, status_reason="exit status 2")
    text = cli("execution", "get", found).expect(0).out
    assert "exit status 2" in text
    assert "2026-01-31T08:00:00Z" in text
    assert cli("execution", "get", found, "--json").json()["exit_code"] == 2


def test_execution_history_and_cancel(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(status="running", exit_code=None)
    assert cli("execution", "history", found, "--json").expect(0).json()["items"][0]["type"] == "started"
    assert cli("execution", "cancel", found, "--reason", "enough", "--json").expect(0).json()["items"][0][
        "status"
    ] == ("canceling")
    assert fake.seen[-1].json() == {"reason": "enough"}


def test_execution_search_ends_with_1_without_a_hit(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(("stdout", b"one\nTwo\n"))
    hit = cli("execution", "search", "-i", found, "two").expect(0)
    assert (hit.out, hit.err) == ("2:Two\n", "1 found\n")
    cli("execution", "search", found, "two").expect(1)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"exit_code": 7, "status": "failed"}, 7),
        ({"exit_code": None, "status": "timeout"}, 124),
        ({"exit_code": None, "status": "abandoned"}, 125),
    ],
)
def test_execution_wait_returns_the_status_of_the_execution(
    fake: NativeServer, cli: Cli, fields: dict[str, object], status: int
) -> None:
    assert cli("execution", "wait", fake.add_execution(**fields), "--json").status == status


def test_logs_prints_both_streams_in_order_to_stdout(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\n"))
    ran = cli("logs", found).expect(0)
    assert (ran.out, ran.err) == ("one\ntwo\nthree\n", "")
    assert cli("logs", found, "--stream", "stderr").out == "two\n"
    assert cli("logs", found, "--offset", "4").out == "two\nthree\n"


@pytest.mark.parametrize(
    ("lines", "expected"), [("0", ""), ("1", "d"), ("2", "c\nd"), ("3", "b\nc\nd"), ("9", "a\nb\nc\nd")]
)
def test_logs_with_tail_prints_the_last_lines(
    fake: NativeServer, cli: Cli, lines: str, expected: str
) -> None:
    found = fake.add_execution(("stdout", b"a\nb"), ("stderr", b"\nc\n"), ("stdout", b"d"))
    assert cli("logs", "-n", lines, found).expect(0).out == expected


def test_logs_without_id_means_the_newest(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    fake.add_execution(("stdout", b"old\n"))
    fake.add_execution(("stdout", b"new\n"))
    assert cli("logs").expect(0).out == "new\n"
    assert cli("logs", "web").expect(0).out == "new\n"
    assert fake.seen[-2].query["place"] == "01900000-0000-7000-8000-000000000001"


def test_logs_with_json_prints_a_line_a_piece(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(("stdout", b"one\n"), ("stderr", b"\xff"))
    pieces = [json.loads(line) for line in cli("logs", found, "--json").expect(0).out.splitlines()]
    assert [base64.b64decode(one["data_base64"]) for one in pieces] == [b"one\n", b"\xff"]
    assert [one["offset"] for one in pieces] == [0, 4]


def test_logs_following_over_cut_connections_loses_nothing(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(*[("stdout", b"%d\n" % number) for number in range(5)])
    fake.logs[found].cuts = [1, 2]
    ran = cli("logs", "-f", found).expect(0)
    assert ran.out == "0\n1\n2\n3\n4\n"
    assert "reconnecting" in ran.err
    assert cli("execution", "tail", found).out == ran.out
    assert cli("logs", "-f", "-n", "1", found).out == "4\n"


def test_token_create_prints_only_the_secret_on_stdout(fake: NativeServer, cli: Cli) -> None:
    ran = cli("token", "create", "ci", "--scope", "runtimes:exec", "--expires", "30d").expect(0)
    assert ran.out == "ry_made_secret\n"
    assert fake.seen[0].json() == {"name": "ci", "scopes": ["runtimes:exec"], "expires_in_secs": 2_592_000}
    listed = cli("token", "list", "--json").expect(0)
    assert "secret" not in listed.out
    cli("token", "revoke", listed.json()["items"][0]["id"], "--yes").expect(0)
    assert fake.tokens == {}


def test_version_names_client_and_server(fake: NativeServer, cli: Cli, cli_for: Callable[..., Cli]) -> None:
    both = cli("version", "--json").expect(0).json()
    assert both["server"]["version"] == "9.9.9"
    alone = cli_for(f"http://127.0.0.1:{free_port()}", None)("version").expect(0)
    assert "unknown" in alone.out


def test_profile_set_use_and_list(fake: NativeServer, cli_for: Callable[..., Cli], tmp_path: Path) -> None:
    cli = cli_for(None, None)
    (tmp_path / "token").write_text(f"{fake.token}\n")
    cli("profile", "set", "one", "--url", f"{fake.url}/", "--token-file", str(tmp_path / "token")).expect(0)
    cli("profile", "set", "two", "--url", "https://two.example.com").expect(0)
    path = tmp_path / ".config" / "runyard" / "config.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    listed = cli("profile", "list", "--json").expect(0)
    assert listed.json()["items"] == [
        {"name": "one", "url": fake.url, "active": True, "has_token": True},
        {"name": "two", "url": "https://two.example.com", "active": False, "has_token": False},
    ]
    assert fake.token not in listed.out
    cli("runtime", "list").expect(0)
    cli("profile", "use", "two").expect(0)
    assert "in use: https://two.example.com (profile two)" in cli("profile", "list").err
    cli("--profile", "one", "runtime", "list").expect(0)
    cli("runtime", "list", "--profile", "one").expect(0)
    cli("profile", "delete", "two").expect(0)
    assert "two" not in path.read_text()


def test_profile_token_from_environment_is_stored(cli_for: Callable[..., Cli], tmp_path: Path) -> None:
    cli_for(None, "ry_x")("profile", "set", "one", "--token-env").expect(0)
    assert 'token = "ry_x"' in (tmp_path / ".config" / "runyard" / "config.toml").read_text()


def test_environment_wins_over_the_active_profile(
    fake: NativeServer, cli_for: Callable[..., Cli], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("other")
    cli_for(None, None)(
        "profile", "set", "one", "--url", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token")
    ).expect(0)
    cli_for(fake.url, fake.token)("ps").expect(0)


def test_stored_token_is_never_sent_to_another_address(
    fake: NativeServer, cli_for: Callable[..., Cli], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(fake.token)
    cli_for(None, None)(
        "profile", "set", "one", "--url", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token")
    ).expect(0)
    cli_for(fake.url, None)("ps").expect(4)
    assert "authorization" not in fake.seen[0].headers


@pytest.mark.parametrize("text", ["not toml [", '[profiles.x]\ntoken = "a"', '[profiles]\nx = "y"'])
def test_broken_profile_file_is_a_sentence(cli_for: Callable[..., Cli], tmp_path: Path, text: str) -> None:
    path = tmp_path / ".config" / "runyard" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    ran = cli_for(None, None)("ps").expect(2)
    assert str(path) in ran.err


def test_profile_url_with_password_is_refused(cli_for: Callable[..., Cli]) -> None:
    cli_for(None, None)("profile", "set", "x", "--url", "https://u:p@example.com").expect(2)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(cli: Cli, shell: str) -> None:
    assert f"_RUNYARD_COMPLETE={shell}_complete" in cli("completion", shell).expect(0).out


def complete(cli: Cli, line: str) -> list[str]:
    """Return what bash would be offered after a line."""
    words = line.split(" ")
    asked = Cli(
        cli.monkeypatch,
        cli.capture,
        {
            **cli.environment,
            "_RUNYARD_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    try:
        out = asked().out
    except SystemExit:
        out = cli.capture.readouterr().out
    return [one.partition(",")[2] for one in out.splitlines() if one]


def test_completion_offers_commands_options_and_names_with_a_short_cache(
    fake: NativeServer, cli: Cli
) -> None:
    runtime_id = fake.add_runtime("web")["id"]
    assert "exec" in complete(cli, "runyard ex")
    assert "--memory" in complete(cli, "runyard runtime create --m")
    assert complete(cli, "runyard exec w") == ["web"]
    assert complete(cli, "runyard runtime delete 019") == [runtime_id]
    assert len(fake.seen) == 1, "the second answer came from the cache"


def test_completion_without_server_offers_nothing(cli_for: Callable[..., Cli]) -> None:
    assert complete(cli_for(f"http://127.0.0.1:{free_port()}", "t"), "runyard exec w") == []


def test_output_to_a_terminal_that_nobody_reads_is_no_colour(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    assert "\x1b" not in cli("runtime", "list").out
    assert os.environ.get("RUNYARD_URL") is None
