"""What the server does not load before somebody needs it: each of these is a twentieth of its start or more."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["alembic", "asyncssh"])
def test_server_loads_at_its_start_nothing_that_few_need(module: str) -> None:
    code = f"import runyard.server.main, runyard.database.sqlite, sys; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
