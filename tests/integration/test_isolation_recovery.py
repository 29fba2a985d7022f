"""A server killed with SIGKILL: nothing of its sandboxes lives on, and the next start sweeps what lies about."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runyard.runtimes.isolation.options import IsolationOptions
from tests.support.engines import make_engine, new_spec, read_file, run, start, until, why_unavailable

VICTIM = """
import asyncio, os, sys
from pathlib import Path
from runyard.runtimes.isolation import hostns
hostns.enter_private_mounts()
from runyard.runtimes.isolation.engine import Limits, Network
from tests.support.engines import make_engine, new_spec, sh, start, write_file

async def main():
    engine = make_engine("namespaces", Path(sys.argv[1]))
    await engine.start()
    spec = new_spec(id="kept", limits=Limits(memory_bytes=1 << 28, pids=50), network=Network(sys.argv[2]))
    sandbox = await engine.create(spec)
    await write_file(sandbox, "kept", b"of the first life")
    await start(sandbox, ["/bin/sh", "-c", "setsid sleep 98765 & exec sleep 98765"])
    await sh(sandbox, "true")
    print("ready", engine._launcher.pid, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def _groups(instance: str) -> list[Path]:
    name = f"runyard-{instance}"
    return [
        Path(folder) / child
        for folder, children, _ in os.walk("/sys/fs/cgroup")
        if folder.endswith(name)
        for child in children
    ]


def _sleepers() -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and b"98765" in Path("/proc", entry, "cmdline").read_bytes():
                found.append(int(entry))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("network", ["none", "open"])
async def test_killed_server_leaves_nothing_after_the_next_start(tmp_path: Path, network: str) -> None:
    if why := await why_unavailable(tmp_path / "probe"):
        pytest.skip(f"no namespaces engine on this host: {why}")
    data_dir = tmp_path / "data"
    with subprocess.Popen(  # noqa: ASYNC220  # a server of its own, to be killed
        [sys.executable, "-c", VICTIM, str(data_dir), network],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    ) as victim:
        assert victim.stdout is not None
        word, launcher = victim.stdout.readline().split()
        assert word == b"ready"
        assert len(_sleepers()) >= 2
        victim.send_signal(signal.SIGKILL)
        victim.wait()

    async def nobody_lives() -> bool:
        return not _sleepers() and not Path(f"/proc/{int(launcher)}/root").exists()

    await until(nobody_lives)
    assert str(data_dir) not in Path("/proc/1/mountinfo").read_text()
    engine = make_engine("namespaces", data_dir, warm_pool_size=0)
    await engine.start()
    instance = IsolationOptions(data_dir=data_dir).instance
    assert _groups(instance) == []
    sandbox = await engine.create(new_spec(id="kept"))
    assert await read_file(sandbox, "kept") == b"of the first life"
    assert (await run(sandbox, "true")).code == 0
    await sandbox.destroy(keep_layer=False)
    await engine.stop()
    assert _groups(instance) == []


async def test_stopped_engine_leaves_no_process_group_or_descriptor(tmp_path: Path) -> None:
    if why := await why_unavailable(tmp_path):
        pytest.skip(f"no namespaces engine on this host: {why}")
    before = set(os.listdir("/proc/self/fd"))
    engine = make_engine("namespaces", tmp_path)
    await engine.start()
    for _ in range(3):
        sandbox = await engine.create(new_spec())
        running = await start(sandbox, ["sleep", "1000"])
        await sandbox.take_shell()
        await engine.stop() if _ == 2 else await sandbox.destroy(keep_layer=False)
        running.close_stdin()
        with pytest.raises(Exception, match="destroyed"):
            await running.result()

    async def same() -> bool:
        return set(os.listdir("/proc/self/fd")) <= before

    await until(same)
    assert _groups(IsolationOptions(data_dir=tmp_path).instance) == []
