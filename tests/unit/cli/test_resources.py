"""Runtimes, files, checkpoints and tokens against a fake server; and how failures are told."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli
from tests.support.server import free_port


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


def test_image_life_cycle(fake: NativeServer, cli: Cli, tmp_path: Path) -> None:
    made = cli("image", "import", str(tmp_path / "Alpine"), "--json").expect(0).json()
    assert (made["name"], made["kind"]) == ("alpine", "image")
    assert fake.seen[-1].json() == {"name": "alpine", "path": str(tmp_path / "Alpine")}
    cli("image", "import", ".", "--name", "team/tools:2").expect(0)
    assert fake.seen[-1].json() == {"name": "team/tools:2", "path": os.getcwd()}
    assert cli("image", "list", "--output", "name").out.splitlines() == ["host", "alpine", "team/tools:2"]
    assert "yes" in cli("image", "list").out.splitlines()[1]
    assert "--yes" in cli("image", "remove", "alpine").expect(2).err
    cli("image", "remove", "alpine", "team/tools:2", "--yes").expect(0)
    assert fake.images == {}
    assert cli("image", "remove", "alpine", "--yes", "--json").expect(3).error()["code"] == "not_found"


def test_token_create_prints_only_the_secret_on_stdout(fake: NativeServer, cli: Cli) -> None:
    ran = cli("token", "create", "ci", "--scope", "runtimes:exec", "--expires", "30d").expect(0)
    assert ran.out == "ry_made_secret\n"
    assert fake.seen[0].json() == {"name": "ci", "scopes": ["runtimes:exec"], "expires_in_secs": 2_592_000}
    pair = cli("token", "create", "tf", "--key-pair").expect(0)
    assert pair.out.splitlines()[1] == "secret key  ry_made_secret"
    made = cli("token", "create", "tf", "--key-pair", "--json").expect(0).json()
    assert made == {"access_key": pair.out.split()[2], "secret_key": "ry_made_secret"}
    listed = cli("token", "list", "--json").expect(0)
    assert "secret" not in listed.out
    cli("token", "revoke", listed.json()["items"][0]["id"], "--yes").expect(0)
    assert fake.tokens == {}


def test_version_names_client_and_server(fake: NativeServer, cli: Cli, cli_for: Callable[..., Cli]) -> None:
    both = cli("version", "--json").expect(0).json()
    assert both["server"]["version"] == "9.9.9"
    alone = cli_for(f"http://127.0.0.1:{free_port()}", None)("version").expect(0)
    assert "unknown" in alone.out


def test_output_to_a_terminal_that_nobody_reads_is_no_colour(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    assert "\x1b" not in cli("runtime", "list").out
    assert os.environ.get("RUNYARD_URL") is None
