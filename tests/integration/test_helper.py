"""The helper process of the server: what it gives up before it works on what strangers wrote, and its end."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runyard.runtimes.isolation.helper import Helper, HelperEnded

ATTEMPTS = """
import ctypes, encodings.idna, json, os, socket, sys
from runyard.runtimes.isolation.confine import confine
confine(memory_bytes=64 << 20, cpu_seconds=5)
def tried(work):
    try:
        work()
    except BaseException as error:
        return type(error).__name__
    return "done"
def connect():
    with socket.socket() as one:
        one.settimeout(2)
        one.connect(("127.0.0.1", int(sys.argv[1])))
def write():
    os.write(os.open("x", os.O_CREAT | os.O_WRONLY), b"x")
print(json.dumps({
    "read": tried(lambda: open("/etc/passwd")),
    "list": tried(lambda: os.listdir("/proc")),
    "write": tried(write),
    "connect": tried(connect),
    "fork": tried(os.fork),
    "kill": tried(lambda: os.kill(int(sys.argv[2]), 0)),
    "memory": tried(lambda: bytearray(512 << 20)),
    "root": tried(lambda: os.setuid(0)),
    "uid": os.getuid(),
}))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up what this looks for")
def test_confined_process_has_no_files_network_children_or_rights(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = subprocess.run(
            [sys.executable, "-c", ATTEMPTS, str(listening.getsockname()[1]), str(os.getpid())],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=30,
        )
    found = json.loads(done.stdout)
    assert found.pop("uid") >= 0x6F00_0000
    assert "done" not in found.values(), found
    assert found["memory"] == "MemoryError"
    assert found["connect"] == "OSError"  # the network is not reachable: there is none
    assert list(tmp_path.iterdir()) == []


def test_helper_that_is_ended_by_another_hand_says_so_and_leaves_nothing() -> None:
    helper = Helper("runyard.infrastructure.policies.evaluator")
    pid = helper._process.pid
    os.kill(pid, 9)
    with pytest.raises(HelperEnded, match="SIGKILL"):
        helper.ask({"shared": {}}, step_seconds=5, deadline=time.monotonic() + 5)
    assert not Path(f"/proc/{pid}").exists()
    helper.close()


def test_helper_dies_with_who_started_it() -> None:
    code = (
        "import time\n"
        "from runyard.runtimes.isolation.helper import Helper\n"
        "helper = Helper('runyard.infrastructure.policies.evaluator')\n"
        "helper.ask({'shared': {}, 'modules': {'0': 'package p\\nx = 1'}, 'entrypoints': ['p/x']},"
        " step_seconds=9, deadline=time.monotonic() + 9)\n"
        "print(helper._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.kill()
    starter.wait()
    starter.stdout.close()
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.01)
    raise AssertionError("the helper lives on")
