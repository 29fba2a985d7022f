"""Databases of other versions: a newer one is refused with a sentence, an older one is brought up. No data is lost."""

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.server import Server


@contextmanager
def opened(server: Server) -> Iterator[sqlite3.Connection]:
    """Open the server's SQLite database while the server is down."""
    path: Path = next(
        path for path in server.data_dir.iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3")
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def test_schema_of_a_newer_server_is_refused_with_a_sentence(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server()
    assert server.stop() == 0
    with opened(server) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    with pytest.raises(AssertionError, match="the server ended with"):
        server.start()
    assert "newer" in server.log_tail()
    assert "Traceback" not in server.log_tail()
    with opened(server) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    server.start()


def test_second_server_on_one_data_folder_is_refused(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server()
    second = Server(server.folder, server.settings)
    with pytest.raises(AssertionError, match="the server ended with"):
        second.start()
    with server.api() as api:
        runtime = api.create()["id"]
        assert api.sh(runtime, "echo unharmed") == "unharmed\n"


def test_port_in_use_is_said_in_a_sentence(fresh_server: Callable[..., Server], tmp_path: Path) -> None:
    server = fresh_server()
    second = Server(tmp_path / "second", server.settings, port=server.port)
    done = subprocess.run(
        second.command, env=second.environment(), capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode not in (0, -9), done
    assert str(server.port) in done.stderr
    assert "Traceback" not in done.stderr
