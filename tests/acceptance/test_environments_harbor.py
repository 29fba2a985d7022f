"""Harbor tasks, imported by the command and judged by their own tests."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.environments import ready
from tests.support.http import Api
from tests.support.server import Server

TOML = """schema_version = "1.4"
[task]
name = "demo/Hello_World"
description = "Write a greeting"
keywords = ["greeting"]
[metadata]
difficulty = "easy"
[agent]
timeout_sec = 300
[verifier]
timeout_sec = 30
env = { EXPECTED = "${EXPECTED:-Hello}" }
[environment]
memory_mb = 512
allow_internet = false
env = { LEVEL = "3" }
"""
FILES = {
    "task.toml": TOML,
    "instruction.md": "Write Hello into hello.txt and remove old.txt.\n",
    "environment/Dockerfile": "FROM python:3.12-slim\nWORKDIR /app\nRUN echo old > old.txt\n",
    "solution/solve.sh": "#!/bin/bash\necho Hello > hello.txt; rm old.txt\n",
    "tests/test.sh": (
        "#!/bin/bash\nmkdir -p /logs/verifier\n"
        'if [ "$(cat /app/hello.txt)" = "$EXPECTED" ] && [ ! -e old.txt ] && python3 /tests/check.py; then\n'
        "  echo 1 > /logs/verifier/reward.txt\nelse\n  echo 0 > /logs/verifier/reward.txt\nfi\n"
    ),
    "tests/check.py": "import socket, sys\ntry:\n    socket.create_connection(('1.1.1.1', 53), 1)\nexcept OSError:\n    sys.exit(0)\nsys.exit(1)\n",
}


def write(folder: Path) -> Path:
    """Write the task."""
    for name, content in FILES.items():
        path = folder / "task" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder / "task"


def test_harbor_task_is_imported_solved_and_rewarded(
    server: Server, api: Api, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    command = [server.command[0], "task", "import", str(write(tmp_path)), "--json"]
    environment = {**server.environment(), "RUNYARD_URL": server.url, "RUNYARD_TOKEN": server.token}
    environment = {name: value for name, value in environment.items() if "__" not in name}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ref"] == "default/hello-world@0.1.0"
    box = ready(api, "hello-world")
    assert box.sh(
        "pwd; cat old.txt; echo $LEVEL; find /home/user /tests -type f 2>/dev/null | wc -l"
    ).split() == [
        "/app",
        "old",
        "3",
        "0",
    ]
    assert box.execute("curl -s -m 2 http://1.1.1.1/").json()["exit_code"] != 0
    assert box.verify()["reward"] == 0.0
    box.sh("echo Hello > hello.txt; rm old.txt; ln -s hello.txt greeting")
    verdict = box.verify()
    assert (verdict["reward"], verdict["outputs"]) == (1.0, ["/app"]), verdict
    box.delete()
    written = subprocess.run(
        [*command, "--to", str(tmp_path / "package")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "package" / "task.yaml").is_file()
    refused = subprocess.run(
        [*command[:3], str(tmp_path), "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "it has no task.toml" in refused.stderr
