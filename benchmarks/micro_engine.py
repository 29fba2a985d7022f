"""Micro-benchmark of the isolation engine: what a spawn, a waiting shell and a creation cost against bare spawns.

Run as root: `python benchmarks/micro_engine.py [rounds]`. Variants are interleaved, so that a busy machine slows all
alike; p10 is the near-noise-free figure, p50 the typical one. Times in milliseconds.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from runyard.runtimes.isolation import hostns
from runyard.runtimes.isolation.engine import Command, Limits, Sandbox, SandboxSpec
from runyard.runtimes.isolation.namespaces import NamespacesEngine
from runyard.runtimes.isolation.options import IsolationOptions

ENV = {"PATH": "/usr/bin:/bin"}
LIMITS = Limits(memory_bytes=512 << 20, pids=512, cpus=2.0)
MANY = 200


async def drain(*fds: int) -> bytes:
    """Read pipes to their end through the loop, as the server does."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left, parts = set(fds), []

    def readable(fd: int) -> None:
        try:
            part = os.read(fd, 65536)
        except BlockingIOError:
            return
        parts.append(part)
        if not part:
            loop.remove_reader(fd)
            os.close(fd)
            left.discard(fd)
            if not left:
                done.set_result(None)

    for fd in fds:
        os.set_blocking(fd, False)
        loop.add_reader(fd, readable, fd)
    await done
    return b"".join(parts)


async def bare(program: str = "/bin/true", *arguments: str) -> None:
    """Spawn without any isolation, two pipes, wait by pidfd."""
    (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, out_w, 1), (os.POSIX_SPAWN_DUP2, err_w, 2)]
    pid = os.posix_spawn(program, [program, *arguments], ENV, file_actions=actions, setsid=True)  # noqa: ASYNC221
    os.close(out_w)
    os.close(err_w)
    loop, ended = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
    pidfd = os.pidfd_open(pid)

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(pidfd, end)
    await drain(out_r, err_r)
    await ended
    loop.remove_reader(pidfd)
    os.close(pidfd)
    os.waitpid(pid, 0)  # noqa: ASYNC222


async def inside(sandbox: Sandbox, null: int, program: str = "/bin/true", *arguments: str) -> None:
    """Spawn in a sandbox, two pipes."""
    (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe()
    command = Command(argv=[program, *arguments], env=ENV, stdin=null, stdout=out_w, stderr=err_w)
    process = await sandbox.spawn(command)
    os.close(out_w)
    os.close(err_w)
    await drain(out_r, err_r)
    await process.wait()


async def warm(sandbox: Sandbox, script: str) -> float | None:
    """Run a script in a waiting shell; None when none waits or it does not take it."""
    began = time.perf_counter()
    shell = await sandbox.take_shell()
    if shell is None:
        return None
    os.close(shell.stdin)
    taken = shell.run(script, ENV, "/root")
    await drain(shell.stdout, shell.stderr)
    await shell.process.wait()
    return (time.perf_counter() - began) * 1e3 if taken else None


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return how many milliseconds something takes."""
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1e3


def show(name: str, values: list[float], base: list[float] | None = None) -> None:
    """Print one line of the table."""
    cuts = statistics.quantiles(values, n=10)
    ratio = ""
    if base:
        other = statistics.quantiles(base, n=10)
        ratio = f"   x{cuts[0] / other[0]:.2f} p10, x{statistics.median(values) / statistics.median(base):.2f} p50"
    print(f"{name:<42} p10 {cuts[0]:7.2f}  p50 {statistics.median(values):7.2f}  p90 {cuts[8]:7.2f}{ratio}")


async def spawns(engine: NamespacesEngine, null: int, rounds: int) -> None:
    """Compare single spawns."""
    sandbox = await engine.create(spec("spawns"))
    true_bare, true_in, sh_bare, sh_in, sh_warm = [], [], [], [], []
    for _ in range(rounds):
        true_bare.append(await timed(bare))
        true_in.append(await timed(lambda: inside(sandbox, null)))
        sh_bare.append(await timed(lambda: bare("/bin/sh", "-c", "echo hi")))
        sh_in.append(await timed(lambda: inside(sandbox, null, "/bin/sh", "-c", "echo hi")))
        took = await warm(sandbox, "echo hi")
        if took is not None:
            sh_warm.append(took)
        await asyncio.sleep(0.006)  # the next shell gets ready
    show("bare posix_spawn /bin/true", true_bare)
    show("sandbox /bin/true", true_in, true_bare)
    show("bare sh -c 'echo hi'", sh_bare, true_bare)
    show("sandbox sh -c 'echo hi'", sh_in, sh_bare)
    show(f"waiting shell 'echo hi' ({len(sh_warm)} of {rounds})", sh_warm, sh_bare)
    await sandbox.destroy(keep_layer=False)


async def rate(name: str, work: Callable[[], Awaitable[object]], width: int, count: int) -> None:
    """Print commands per second with `width` at a time."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await work()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    print(f"{name:<42} {count / (time.perf_counter() - began):7.0f} per second at {width}")


async def creations(engine: NamespacesEngine, null: int, rounds: int, name: str) -> None:
    """Measure creation with its first command, and the end."""
    first, create, end = [], [], []
    for n in range(rounds):
        await asyncio.sleep(0.15)  # the group's attach is slow after idling only
        began = time.perf_counter()
        sandbox = await engine.create(spec(f"{name}-{n}"))
        create.append((time.perf_counter() - began) * 1e3)
        await inside(sandbox, null)
        first.append((time.perf_counter() - began) * 1e3)
        end.append(await timed(lambda: sandbox.destroy(keep_layer=False)))  # noqa: B023
    show(f"{name}: create", create)
    show(f"{name}: create and first command", first)
    show(f"{name}: destroy", end)


async def memory(engine: NamespacesEngine, null: int) -> None:
    """Measure the memory of many idle sandboxes by the groups' own account."""
    sandboxes = [await engine.create(spec(f"many-{n}")) for n in range(MANY)]
    for sandbox in sandboxes:
        await inside(sandbox, null)
    used = [(await sandbox.usage()).memory_bytes or 0 for sandbox in sandboxes]
    print(
        f"{'idle sandbox, its group (mean of ' + str(MANY) + ')':<42} {statistics.mean(used) / 2**20:.2f} MiB"
    )
    took = await timed(lambda: asyncio.gather(*(one.destroy(keep_layer=False) for one in sandboxes)))
    print(f"{'destroying them all at once':<42} {took:.0f} ms")


def spec(name: str) -> SandboxSpec:
    """Return a spec with limits and no network."""
    return SandboxSpec(id=name, hostname="bench", base="host", limits=LIMITS)


async def main() -> None:
    """Run all parts."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    null = os.open(os.devnull, os.O_RDWR)
    for pool in (0, 2):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            options = IsolationOptions(data_dir=Path(folder), warm_pool_size=pool, disk_pool_bytes=16 << 30)
            engine = NamespacesEngine(options)
            await engine.start()
            await asyncio.sleep(0.5)
            if pool == 0:
                await spawns(engine, null, rounds)
                sandbox = await engine.create(spec("rate"))
                for width in (1, 8, 32):
                    await rate("bare posix_spawn loop", bare, width, rounds * 4)
                    await rate("sandbox", lambda: inside(sandbox, null), width, rounds * 4)  # noqa: B023
                await sandbox.destroy(keep_layer=False)
                await creations(engine, null, max(20, rounds // 5), "cold")
                await memory(engine, null)
            else:
                await creations(engine, null, max(20, rounds // 5), "warm")
            await engine.stop()


if __name__ == "__main__":
    hostns.enter_private_mounts()
    uvloop.run(main())
