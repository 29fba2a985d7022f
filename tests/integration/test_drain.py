"""Draining real pipes of real children: heads, masking, background children, speed and memory."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runyard.executions.drain import QUIET_SECONDS, Drain
from runyard.executions.output.log import OutputLog
from runyard.executions.output.model import Stream
from runyard.kernel.ids import ExecutionId


@dataclass
class Child:
    """A child and the read ends of its pipes."""

    process: subprocess.Popen[bytes]
    stdout: int
    stderr: int

    async def ended(self) -> int:
        """Wait for the child itself, not for who holds its pipes."""
        return await asyncio.to_thread(self.process.wait)


Spawn = Callable[[list[str]], Child]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start children with two pipes; what still runs at the end is killed with its group."""
    started: list[Child] = []

    def start(command: list[str]) -> Child:
        (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
        process = subprocess.Popen(command, stdout=out_write, stderr=err_write, start_new_session=True)
        os.close(out_write)
        os.close(err_write)
        child = Child(process, out_read, err_read)
        started.append(child)
        return child

    yield start
    for child in started:
        try:
            os.killpg(child.process.pid, 9)
        except ProcessLookupError:
            continue
        child.process.wait()


async def test_drain_gives_raw_heads_and_a_masked_log(tmp_path: Path, spawn: Spawn) -> None:
    log = OutputLog(tmp_path)
    execution_id = ExecutionId.new()
    drain = Drain(log.writer(execution_id, secrets=[b"hunter22"]))
    child = spawn(["sh", "-c", "printf 'pw hunter'; sleep 0.05; printf '22 end'; printf oops >&2; exit 3"])
    out = drain.add(child.stdout, Stream.STDOUT, head_limit=100)
    err = drain.add(child.stderr, Stream.STDERR, head_limit=100)
    assert await drain.finished(child.ended())
    assert child.process.wait() == 3
    assert (bytes(out.data), bytes(err.data)) == (b"pw hunter22 end", b"oops")
    assert not out.truncated
    log.settle(execution_id, None)
    kept = [c.data for c in await log.read(execution_id, stream=Stream.STDOUT)]
    assert b"".join(kept) == b"pw [masked] end"
    log.close()


async def test_drain_head_is_bounded_and_the_rest_is_counted(spawn: Spawn) -> None:
    drain = Drain()
    child = spawn(["head", "-c", "3000000", "/dev/zero"])
    out = drain.add(child.stdout, Stream.STDOUT, head_limit=1000)
    drain.add(child.stderr, Stream.STDERR)
    await drain.finished()
    assert (len(out.data), out.total, out.truncated) == (1000, 3_000_000, True)
    assert drain.bytes_read == 3_000_000


async def test_drain_background_child_that_holds_the_pipes_does_not_hold_the_end(
    tmp_path: Path, spawn: Spawn
) -> None:
    drain = Drain()
    script = '(read go < "$0.go"; i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; touch "$0") & echo now'
    marker = str(tmp_path / "written")
    os.mkfifo(f"{marker}.go")
    child = spawn(["sh", "-c", script, marker])
    out = drain.add(child.stdout, Stream.STDOUT, head_limit=100)
    drain.add(child.stderr, Stream.STDERR)
    began = time.monotonic()
    assert not await drain.finished(child.ended())
    assert time.monotonic() - began >= QUIET_SECONDS
    assert bytes(out.data) == b"now\n"
    await asyncio.to_thread(Path(f"{marker}.go").write_text, "go\n")
    # More than a pipe holds is written afterwards: the background child must neither block nor die of SIGPIPE.
    for _ in range(500):
        if os.path.exists(marker) and not drain._open:
            break
        await asyncio.sleep(0.02)
    assert os.path.exists(marker)
    assert drain.bytes_read == 4 + 3000 * 41
    assert bytes(out.data) == b"now\n"
    assert drain._open == {}


async def test_drain_close_ends_at_once_and_frees_the_descriptors(spawn: Spawn) -> None:
    drain = Drain()
    child = spawn(["sleep", "60"])
    drain.add(child.stdout, Stream.STDOUT)
    drain.add(child.stderr, Stream.STDERR)
    drain.close()
    assert await drain.finished()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(child.stdout)


@pytest.mark.parametrize("kept", ["nothing", "capped", "all"])
async def test_drain_of_a_quarter_gigabyte_is_fast_and_flat(tmp_path: Path, spawn: Spawn, kept: str) -> None:
    log = OutputLog(tmp_path)
    limit = {"nothing": 0, "capped": 8 << 20, "all": 1 << 30}[kept]
    size = 256 << 20
    drain = Drain(log.writer(ExecutionId.new(), limit_bytes=limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    program = f"import os\nb = b'0123456789abcde\\n' * 65536\nfor _ in range({size >> 20}): os.write(1, b)"
    child = spawn([sys.executable, "-c", program])
    out = drain.add(child.stdout, Stream.STDOUT, head_limit=1 << 20)
    drain.add(child.stderr, Stream.STDERR)
    began = time.perf_counter()
    await drain.finished(child.ended())
    rate = size / (time.perf_counter() - began) / 1e6
    assert out.total == size
    assert (
        rate > 60
    )  # far below what is measured on a quiet host: this guards against a collapse, not for a record
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 << 10
    log.close()
