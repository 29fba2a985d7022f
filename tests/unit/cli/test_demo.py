"""The demonstration of `runyard serve --demo` against a fake server."""

from pathlib import Path

import pytest

from runyard.cli.demo import Demo, find_token
from runyard.cli.kit.profiles import load_book
from runyard.cli.kit.state import State
from tests.fakes.native_server import NativeServer


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test a home of its own and no RUNYARD variables."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("RUNYARD_URL", "RUNYARD_TOKEN", "RUNYARD_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_demo_with_fresh_token_shows_a_command_and_stores_the_profile(
    fake: NativeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    Demo(State(), fake.url, fake.token, fresh=True).show()
    shown = capfd.readouterr().out
    assert "$ runyard run --network none" in shown
    assert "exit status 0" in shown
    assert fake.token not in shown
    assert fake.runtimes == {}
    assert load_book().profiles["local"].token == fake.token
    assert find_token(fake.url, None) == fake.token, "the next start finds it"
    assert find_token("http://127.0.0.1:1", None) is None


def test_demo_with_broken_server_is_a_sentence(fake: NativeServer, capfd: pytest.CaptureFixture[str]) -> None:
    fake.failures = [(500, {"detail": "no room"})]
    Demo(State(), fake.url, fake.token, fresh=True).show()
    assert "the server goes on: no room" in capfd.readouterr().out
    assert load_book().profiles == {}


def test_demo_without_token_says_what_to_do(fake: NativeServer, capfd: pytest.CaptureFixture[str]) -> None:
    Demo(State(), fake.url, None, fresh=False).show()
    assert "RUNYARD_TOKEN" in capfd.readouterr().out
    assert fake.seen == []
