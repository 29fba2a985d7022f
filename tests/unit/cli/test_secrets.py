"""Secrets on the command line: where a value comes from, and that it is never shown."""

import pytest

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli, TerminalStarter, run_process

VALUE = "s3cr3t-välue"


@pytest.mark.parametrize(
    ("stdin", "options", "value"),
    [
        (f"{VALUE}\n".encode(), [], VALUE),
        (f"{VALUE}\r\n".encode(), [], VALUE),
        (VALUE.encode(), [], VALUE),
        (b"two\nlines\n\n", [], "two\nlines\n"),
        (b"key\n", ["--raw"], "key\n"),
        (b"x" * 65_536 + b"\n", [], "x" * 65_536),
    ],
)
def test_set_reads_the_value_from_stdin(
    fake: NativeServer, environment: dict[str, str], stdin: bytes, options: list[str], value: str
) -> None:
    ran = run_process(environment, "secret", "set", "api", "--cache", "5m", *options, stdin=stdin).expect(0)
    assert fake.seen[-1].json() == {"value": value, "cache_ttl_secs": 300}
    assert fake.seen[-1].path.endswith("/secrets/api")
    assert VALUE not in ran.out + ran.err


@pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff\xfe", b"x" * 65_537, b"x" * 70_000])
def test_set_refuses_what_is_no_secret(fake: NativeServer, environment: dict[str, str], stdin: bytes) -> None:
    run_process(environment, "secret", "set", "api", stdin=stdin).expect(2)
    assert fake.seen == []


def test_set_never_takes_the_value_from_the_line(fake: NativeServer, cli: Cli) -> None:
    assert cli("secret", "set", "api", VALUE).status == 2
    assert fake.seen == []


def test_set_on_a_terminal_asks_without_echo(fake: NativeServer, terminal: TerminalStarter) -> None:
    one = terminal("secret", "set", "api")
    shown = one.read_until(b"Value:")
    one.type(b"typed-in\n")
    shown += one.read_until(b"api")
    assert one.process.wait(20) == 0
    assert b"typed-in" not in shown
    assert fake.seen[-1].json()["value"] == "typed-in"


def test_list_and_remove(fake: NativeServer, environment: dict[str, str], cli: Cli) -> None:
    run_process(environment, "secret", "set", "api", stdin=VALUE.encode()).expect(0)
    listed = cli("secret", "list", "--json").expect(0).json()["items"]
    assert [one["name"] for one in listed] == ["api"]
    assert "--yes" in cli("secret", "remove", "api").expect(2).err
    cli("secret", "remove", "api", "--yes").expect(0)
    assert fake.secrets == {}
    assert cli("secret", "list").expect(0).err == "there are no secrets\n"


def test_runtime_create_says_where_secrets_go(fake: NativeServer, cli: Cli) -> None:
    cli("runtime", "create", "a", "--secret-env", "API_KEY=api", "--secret-file", ".netrc=net=rc").expect(0)
    body = next(one for one in fake.seen if one.method == "POST").json()
    assert body["secrets"] == [{"name": "api", "env": "API_KEY"}, {"name": "net=rc", "file": ".netrc"}]


@pytest.mark.parametrize("pair", ["API_KEY", "=api", "API_KEY="])
def test_runtime_create_with_half_a_pair_is_wrong_usage(fake: NativeServer, cli: Cli, pair: str) -> None:
    for option in ("--secret-env", "--secret-file"):
        assert cli("runtime", "create", "a", option, pair).status == 2
    assert fake.seen == []
