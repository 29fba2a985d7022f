"""`runyard serve`: from settings to a listening server and back to nothing.

Owns the process: its mounts, its loop, its signals, its exit status. Everything else is in the house.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import structlog
import uvicorn
import uvloop

from runyard.dialects.dreadnode import routes as dreadnode
from runyard.dialects.firefly import routes as firefly
from runyard.dialects.harness import routes as harness
from runyard.dialects.runta import routes as runta
from runyard.dialects.stackstorm import routes as stackstorm
from runyard.dialects.terraform import routes as terraform
from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation import hostns
from runyard.server import native
from runyard.server.app import App
from runyard.server.banner import banner
from runyard.server.harness import harness_house
from runyard.server.house import House, open_house
from runyard.server.logging import set_up_logging
from runyard.server.protocol import BoundedHeadProtocol
from runyard.server.sockets import Socket
from runyard.server.terraform import terraform_house
from runyard.settings import Settings

KEEP_ALIVE_SECONDS = 75
"""Longer than the 30 s for which clients keep idle connections, so that it is never the server that closes first."""
LARGEST_FRAME = 16 << 20
BACKLOG = 2048
CLASSIC_PORTS = (9100, 9101, 9102)
"""Where StackStorm listens for tokens, for the API and for its stream; here each of them serves everything."""

_log = structlog.get_logger(__name__)

Ready = Callable[[str, House], None]
"""Called with the address and the house once the server answers."""


def serve(settings: Settings, ready: Ready | None = None, *, new_admin_token: bool = False) -> int:
    """Run a server until SIGTERM or SIGINT; return the exit status. Call it before any thread exists.

    With `new_admin_token` it makes another admin token and shows it as if the data folder were new.
    0 after a clean stop, 1 when it could not start (the sentence is on standard error).
    """
    set_up_logging(settings.logging)
    hostns.enter_private_mounts()
    listeners: list[socket.socket] = []
    for port in (settings.port, *(CLASSIC_PORTS if settings.actions.classic_ports else ())):
        try:
            listeners.append(_listen(settings.host, port))
        except OSError as error:
            _close(listeners)
            return _fail(f"cannot listen on {settings.host}:{port}: {error.strerror or error}")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, listeners, ready or _print_banner, new_admin_token))
    except RunyardError as error:
        return _fail(f"{error.message} (`runyard doctor` looks at this host and says what to do)")
    finally:
        _close(listeners)


def _close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


async def _serve(
    settings: Settings, listeners: list[socket.socket], ready: Ready, new_admin_token: bool
) -> int:
    async with AsyncExitStack() as stack:
        house = await open_house(settings, stack, new_admin_token=new_admin_token)
        app = build_app(house)
        # What is made by now lives as long as the server: no collection need look at it again.
        gc.collect()
        gc.freeze()
        server = _Server(_uvicorn_config(app, settings.stop_secs))
        _watch_signals(server, house)
        host, port = listeners[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        server.on_started = lambda: ready(f"http://{shown}:{port}", house)
        house.actions.reach.protocol = server.protocol
        house.infrastructure.running.inside.app = app
        await server.serve(sockets=listeners)
        _log.info("server.stopping")
    return 0


def build_app(house: House) -> App:
    """Put the doors together over the house. The native door comes first: it answers for paths nobody owns."""
    doors = [
        native.register(house),
        runta.register(house),
        stackstorm.register(house.actions),
        dreadnode.register(house.environments),
        firefly.register(house.infrastructure),
        terraform.register(terraform_house(house)),
        *harness.register(harness_house(house)),
    ]
    native.publish(doors)
    limits = house.settings.limits
    return App(
        doors, house.identity, house.metrics, body_limit=limits.body_bytes, at_once=limits.requests_at_once
    )


def _uvicorn_config(app: App, stop_secs: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        loop="none",
        http=BoundedHeadProtocol,
        ws=Socket,
        ws_max_size=LARGEST_FRAME,
        ws_ping_interval=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(stop_secs)),
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
    )


class _Server(uvicorn.Server):
    """uvicorn, with signals left to this module and word when it serves."""

    on_started: Callable[[], None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    def protocol(self) -> asyncio.Protocol:
        """Make what speaks on one connection that came another way than through the server's own ports."""
        return BoundedHeadProtocol(config=self.config, server_state=self.server_state, app_state={})

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve and say so."""
        await super().startup(sockets)
        if self.on_started is not None:
            self.on_started()


def _watch_signals(server: _Server, house: House) -> None:
    """The first signal ends it in good order, the second one at once."""

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True
            return
        server.should_exit = True
        house.stopping.set()
        # What runs is told to end now, so that the requests that wait for it can be answered before the door closes.
        house.stop_task = asyncio.get_running_loop().create_task(
            house.executions.stop(house.settings.stop_secs)
        )

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _print_banner(url: str, house: House) -> None:
    sys.stdout.write(banner(url, house))
    sys.stdout.flush()


def _fail(message: str) -> int:
    sys.stderr.write(f"runyard: {message}\n")
    return 1
