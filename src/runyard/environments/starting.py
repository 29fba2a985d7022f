"""Starts one service of an environment and finds out whether it works. Owns its process, its output and its checks."""

import asyncio
import os
from collections.abc import Sequence
from typing import Final

from runyard.environments.building.model import Health, Image, ServicePlan
from runyard.environments.building.users import as_user
from runyard.environments.errors import ProvisionFailed
from runyard.environments.resident import Service
from runyard.environments.running import Job, Run
from runyard.executions.drain import Drain
from runyard.executions.output.model import Stream
from runyard.kernel.clock import monotonic
from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation.engine import Command, Exit, SandboxGone, SpawnError
from runyard.runtimes.pipes import close_all

PORT_SECS: Final = 60.0
"""A service without a check must listen on its exposed ports within this time."""
_PORT_PAUSE: Final = 0.05
_FIRST_CHECKS: Final = (0.1, 0.2, 0.4)
"""Pauses before the first checks while a service starts: most are up long before one interval."""


def program_of(plan: ServicePlan, image: Image) -> Sequence[str]:
    """Return what a service runs, by the rules of images and compose files. Raises ProvisionFailed."""
    config = image.config
    if plan.entrypoint is not None:
        argv = [*plan.entrypoint, *(plan.command or ())]
    elif plan.command is not None:
        argv = [*config.entrypoint, *plan.command]
    else:
        argv = [*config.entrypoint, *config.command]
    if not argv:
        raise ProvisionFailed(f"service {plan.name}: neither its image nor the compose file says what to run")
    return argv


async def start(service: Service, plan: ServicePlan, image: Image, devnull: int) -> None:
    """Start the service's program; its output goes to the end of the service's log. Raises ProvisionFailed."""
    argv = await as_user(service.sandbox, plan.user or image.config.user, program_of(plan, image))
    read, write = os.pipe2(os.O_CLOEXEC)
    command = Command(
        argv=argv,
        env=service.env,
        cwd=service.cwd,
        stdin=devnull,
        stdout=write,
        stderr=write,
    )
    try:
        process = await service.sandbox.spawn(command)
    except SpawnError as error:
        close_all(read)
        raise ProvisionFailed(f"service {plan.name} cannot start: {error.message}") from None
    except BaseException:
        close_all(read)
        raise
    finally:
        close_all(write)
    drain = Drain()
    drain.own(read, Stream.STDOUT, head=service.log)
    drain.read()

    async def follow() -> None:
        try:
            service.ended = _described(await process.wait())
        except SandboxGone:
            service.ended = "its sandbox ended"
        finally:
            drain.take_rest()
            drain.close()

    service.task = asyncio.get_running_loop().create_task(follow())


def _described(ended: Exit) -> str:
    return f"ended with exit code {ended.shell_code}"


async def wait_completed(service: Service) -> None:
    """Wait for a service whose work is to end well. Raises ProvisionFailed."""
    if service.task is not None:
        await asyncio.wait((service.task,))
    if service.ended != "ended with exit code 0":
        raise ProvisionFailed(f"service {service.name} {service.ended}{_last_words(service)}")


async def wait_healthy(service: Service, plan: ServicePlan, image: Image, devnull: int) -> None:
    """Wait until the check of a service succeeds; nothing when it has none. Raises ProvisionFailed."""
    health = None if plan.no_health else plan.health or image.config.health
    if health is None:
        return
    began, failures, pauses = monotonic(), 0, list(_FIRST_CHECKS)
    while True:
        done = await _check(service, health, devnull)
        if done is None:
            return
        if service.ended is not None:
            raise ProvisionFailed(f"service {service.name} {service.ended}{_last_words(service)}")
        early = bool(pauses) or monotonic() - began < health.start_period_secs
        failures += not early
        if failures > health.retries:
            raise ProvisionFailed(f"service {service.name} is not healthy: {done}{_last_words(service)}")
        await asyncio.sleep(min(pauses.pop(0), health.interval_secs) if pauses else health.interval_secs)


async def _check(service: Service, health: Health, devnull: int) -> str | None:
    """Run a check once; return None when it succeeds, else what it said."""
    job = Job(
        argv=health.argv,
        env=service.env,
        cwd="/",
        timeout_secs=health.timeout_secs,
        keep_bytes=4096,
        grace_secs=0.5,
    )
    try:
        done = await Run(service.sandbox, job, devnull).quietly()
    except RunyardError as error:
        return error.message
    if done.code == 0:
        return None
    said = done.output.text.strip()[-300:]
    return f"its check ended with exit code {done.code}{': ' + said if said else ''}"


async def wait_listening(service: Service, ports: Sequence[int]) -> None:
    """Wait until a service accepts connections on its exposed ports. Raises ProvisionFailed."""
    deadline = monotonic() + PORT_SECS
    for port in ports:
        while not await _accepts(service.address, port):
            if service.ended is not None:
                raise ProvisionFailed(f"service {service.name} {service.ended}{_last_words(service)}")
            if monotonic() > deadline:
                raise ProvisionFailed(
                    f"service {service.name} does not listen on its exposed port {port}{_last_words(service)}"
                )
            await asyncio.sleep(_PORT_PAUSE)


async def _accepts(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _last_words(service: Service) -> str:
    head, _, tail = service.log.parts()
    said = (head + tail).decode("utf-8", "replace").strip()[-500:]
    return f": {said}" if said else ""
