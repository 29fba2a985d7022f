"""Profiles, environment and completion: which server, which token, which names."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli
from tests.support.server import free_port


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
