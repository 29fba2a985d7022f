"""The engine that isolates by Linux namespaces. Owns the composition: which part is called when so that steps of one
creation overlap; the parts themselves (groups, layers, bases, network, launcher) know nothing of each other.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from runyard.kernel.errors import AlreadyExists, Unavailable
from runyard.runtimes.isolation import cgroups, hostns, protocol
from runyard.runtimes.isolation.agent import Agent
from runyard.runtimes.isolation.bases import Base, BaseStore, image_facts
from runyard.runtimes.isolation.engine import (
    PASSING,
    BaseFacts,
    CannotEnforce,
    Capability,
    Limits,
    SandboxGone,
    SandboxSpec,
    plain_name,
)
from runyard.runtimes.isolation.images import ImageStore
from runyard.runtimes.isolation.launcher import Launcher
from runyard.runtimes.isolation.layers import Layer, LayerStore
from runyard.runtimes.isolation.network import Uplink
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.private import Bridge, PrivateNetworks
from runyard.runtimes.isolation.program import find_agent
from runyard.runtimes.isolation.sandbox import NamespaceSandbox, Parts
from runyard.runtimes.isolation.shells import ShellPool
from runyard.runtimes.isolation.warm import WarmPool
from runyard.runtimes.isolation.workers import Workers

_MOUNT_OPTIONS_MAX = 4095


class NamespacesEngine:
    """Sandboxes made of namespaces, control groups, overlays and a system call filter."""

    name = "namespaces"

    def __init__(self, options: IsolationOptions) -> None:
        """Take the settings; nothing is touched before `start`."""
        self._options = options
        self._cgroups = cgroups.detect(options.instance)
        self._layers = LayerStore(options)
        self._images = ImageStore(options)
        self._bases = BaseStore(options, self._images)
        self._workers = Workers("attach", 4)
        self._launcher: Launcher | None = None
        self._uplink = Uplink(options, self._bases.nameservers())
        self._private = PrivateNetworks(IPv4Network(options.network_cidr), self._uplink.prefix)
        self._pool = WarmPool(options.warm_pool_size, self._make_blank)
        self._seats = WarmPool(options.seats, self._make_seat)
        self._sandboxes: dict[str, NamespaceSandbox] = {}
        self._blanks: set[NamespaceSandbox] = set()
        self._creating: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._mountpoint = options.data_dir / "root"
        self._nothing = options.data_dir / "nothing"

    def capabilities(self) -> Sequence[Capability]:
        """List what is enforced on this host and what is not; valid after `start`."""
        mounts = hostns.mounts_are_private()
        return [
            Capability(
                name="process isolation",
                enforced=True,
                how="mount, pid, network, ipc, uts, cgroup and user namespaces; system call filter; no capability"
                " over the host",
            ),
            Capability(
                name="private mounts",
                enforced=mounts,
                how="a mount namespace of the server's own" if mounts else "mounts show on the host",
                fix="" if mounts else "start the server before any thread exists, with CAP_SYS_ADMIN",
            ),
            *self._cgroups.capabilities(),
            self._layers.capability(),
            self._bases.capability(),
            self._uplink.capability(),
        ]

    async def start(self) -> None:
        """Remove what a killed server left, start the launcher, fill the warm pool. Raises Unavailable."""
        for folder in (self._mountpoint, self._nothing):
            folder.mkdir(parents=True, exist_ok=True)
        self._options.data_dir.chmod(0o700)
        self._launcher = Launcher(await self._workers.run(find_agent, self._options))
        self._layers.lock()
        await self._workers.run(self._cgroups.start)
        await _all(self._launcher.start(), self._start_files(), self._uplink.start())
        # Again: the members of a killed server's groups were still dying at the first sweep.
        await self._workers.run(self._cgroups.sweep)
        await self._seats.start()
        await self._pool.start()

    async def _start_files(self) -> None:
        await self._layers.start()
        for layer_id in self._layers.ids():
            if layer_id.startswith(PASSING):
                await self._layers.delete(layer_id)
        await self._images.start()
        await self._bases.start()
        await self._bases.prepare(self._options.default_base)

    async def stop(self) -> None:
        """End every sandbox (layers stay) and everything that `start` made."""
        await self._pool.stop()
        seats = await self._seats.stop()
        blanks, self._blanks = self._blanks, set()
        await asyncio.gather(
            *(sandbox.destroy(keep_layer=True) for sandbox in list(self._sandboxes.values())),
            *(sandbox.destroy(keep_layer=False) for sandbox in blanks),
            *(seat.destroy(keep_layer=True) for seat in seats),
        )
        await asyncio.gather(*self._tasks)
        if self._launcher is not None:
            await self._launcher.stop()
        await asyncio.to_thread(self._private.close)
        await self._uplink.stop()
        await self._bases.stop()
        await self._images.stop()
        await self._layers.stop()
        await self._workers.run(self._cgroups.stop)
        self._workers.close()

    async def create(self, spec: SandboxSpec) -> NamespaceSandbox:
        """Make a sandbox, or bring one back from its kept layer. Raises CannotEnforce, NotFound (base, checkpoint),
        AlreadyExists (it lives), Unavailable.
        """
        if spec.id in self._sandboxes or spec.id in self._creating:
            raise AlreadyExists("This sandbox lives already.")
        self._creating.add(spec.id)
        try:
            sandbox = await self._adopt(spec) or await self._build(spec)
        finally:
            self._creating.discard(spec.id)
        self._sandboxes[spec.id] = sandbox
        return sandbox

    async def make_network(self, name: str) -> Bridge:
        """Make a private network. Raises CannotEnforce, LimitExceeded, Unavailable."""
        if not self._uplink.available:
            raise CannotEnforce(
                "This host cannot connect sandboxes to each other: see the capability `network`."
            )
        return await self._private.make(name)

    def layers(self, prefix: str) -> Sequence[str]:
        """List the sandboxes whose files are kept and whose id begins with a text."""
        return [name for name in self._layers.ids() if name.startswith(prefix)]

    async def delete_layer(self, sandbox_id: str) -> None:
        """Delete the kept files of a sandbox that is not living; idempotent."""
        await self._layers.delete(sandbox_id)

    async def capture(self, sandbox_id: str, checkpoint_id: str) -> int:
        """Copy the writable layer into a checkpoint and return its size in bytes. Raises NotFound."""
        return await self._layers.capture(sandbox_id, checkpoint_id)

    async def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Delete a checkpoint's files; idempotent."""
        await self._layers.delete_checkpoint(checkpoint_id)

    def captured(self, prefix: str) -> Sequence[str]:
        """List the ids of checkpoints that begin so."""
        return [name for name in self._layers.checkpoints() if name.startswith(prefix)]

    def bases(self) -> Sequence[BaseFacts]:
        """List the bases that `create` accepts; valid after `start`."""
        return self._bases.facts()

    async def import_image(self, path: Path, name: str) -> BaseFacts:
        """Make a base of an OCI image layout, replacing an image of that name; sandboxes made before keep the old one.
        Raises BadImage, TooLarge, InvalidArgument, Unavailable.
        """
        image = await self._images.import_layout(path, name)
        self._bases.forget(name)
        if name == self._options.default_base:
            # The blank ones were made of what was just replaced.
            await asyncio.gather(*(blank.destroy(keep_layer=False) for blank in list(self._blanks)))
        return image_facts(image)

    async def remove_image(self, name: str) -> None:
        """Forget an imported image; sandboxes that use it go on. Raises NotFound."""
        self._images.get(name)
        await self._images.remove(name)
        self._bases.forget(name)

    async def _adopt(self, spec: SandboxSpec) -> NamespaceSandbox | None:
        """Turn a blank sandbox into this one; None when there is none or the spec asks for more than blank."""
        if spec.base != self._options.default_base or spec.restore_from is not None or spec.shared:
            return None
        if spec.id.startswith(PASSING):
            return None  # whoever makes many that pass keeps some ready itself; these are for those that stay
        if self._layers.has(spec.id):
            return None
        self._cgroups.check(spec.limits)
        sandbox = self._pool.take()
        if sandbox is None:
            return None
        self._blanks.discard(sandbox)
        try:
            await sandbox.adopt(spec)
        except BaseException as error:
            await asyncio.shield(sandbox.destroy(keep_layer=False))
            if isinstance(error, SandboxGone):
                return None  # it died in the pool; another way is open
            raise
        return sandbox

    async def _make_blank(self) -> NamespaceSandbox:
        name = f"{PASSING}{secrets.token_hex(8)}"
        sandbox = await self._build(SandboxSpec(id=name, hostname="runtime", base=self._options.default_base))
        self._blanks.add(sandbox)
        return sandbox

    async def _build(self, spec: SandboxSpec) -> NamespaceSandbox:
        self._cgroups.check(spec.limits)
        base = await self._bases.prepare(spec.base)
        kept = self._layers.has(spec.id)
        sandbox = self._seats.take() or await self._make_seat()
        try:
            layer = await self._layers.prepare(spec.id, spec.limits.disk_bytes, spec.restore_from)
            await sandbox.furnish(spec, self._specification(base, layer, spec.shared))
        except BaseException:
            sandbox.end("The sandbox could not be set up.")
            await asyncio.shield(sandbox.destroy(keep_layer=kept))
            raise
        return sandbox

    async def _make_seat(self) -> NamespaceSandbox:
        """Clone an init and attach it to groups of its own. Attaching waits for a grace period of the kernel, some
        milliseconds for each old hierarchy, which is why seats are kept ready.
        """
        assert self._launcher is not None
        name = f"s-{secrets.token_hex(6)}"
        group = self._cgroups.create(name, Limits())
        ours, theirs = protocol.seqpacket_pair()
        agent = Agent(ours, self._options.uid_base, lambda: group.usage().oom_kills or 0)
        parts = Parts(
            launcher=self._launcher,
            layers=self._layers,
            uplink=self._uplink,
            group=group,
            agent=agent,
            shells=ShellPool(agent, self._options.warm_shells),
        )
        sandbox = NamespaceSandbox(name, parts, self._forget)
        try:
            with theirs:
                parts.handle, parts.init_pid = await self._launcher.create(
                    theirs, self._options.uid_base, group.clone_fd, sandbox.init_exited
                )
            await self._workers.run(group.attach, parts.init_pid)
        except BaseException as error:
            sandbox.abort("The sandbox could not be set up.")
            await asyncio.shield(sandbox.destroy(keep_layer=True))
            if isinstance(error, OSError):
                raise Unavailable(f"The sandbox cannot be put into its control groups: {error}.") from error
            raise
        return sandbox

    def _forget(self, sandbox: NamespaceSandbox) -> None:
        self._pool.drop(sandbox)
        self._seats.drop(sandbox)
        if sandbox in self._blanks:
            self._blanks.discard(sandbox)
            task = asyncio.get_running_loop().create_task(self._layers.delete(sandbox.id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._sandboxes.get(sandbox.id) is sandbox:
            del self._sandboxes[sandbox.id]

    def _specification(self, base: Base, layer: Layer, shared: Mapping[str, Path]) -> bytes:
        folder = self._options.data_dir
        parts = [os.fspath(folder), os.fspath(self._mountpoint)]
        for index, overlay in enumerate(base.overlays):
            lowers = ":".join(_escape(path, folder) for path in overlay.lowers)
            upper, work = _escape(layer.upper(index), folder), _escape(layer.work(index), folder)
            # redirect_dir: renaming a folder of the base works, as on a plain disk.
            options = f"lowerdir={lowers},upperdir={upper},workdir={work},redirect_dir=on"
            if len(os.fsencode(options)) > _MOUNT_OPTIONS_MAX:
                raise Unavailable(f"The base {base.name} has too many layers for one mount.")
            parts += [overlay.target, options]
        for name, path in shared.items():
            # Two lower folders and no upper one: a read-only view, whatever the mount that it comes from allows.
            lowers = f"{_escape(self._nothing, folder)}:{_escape(path, folder)}"
            parts += [f"/root/{plain_name(name)}", f"lowerdir={lowers}"]
        return protocol.fields(*parts)


async def _all(*parts: Awaitable[None]) -> None:
    """Await all parts, then raise the first failure: a part that still starts while others stop would be left behind."""
    for failed in await asyncio.gather(*parts, return_exceptions=True):
        if failed is not None:
            raise failed


def _escape(path: Path, folder: Path) -> str:
    """Write a path for an option list of overlayfs, relative to the data folder where possible."""
    short = path.relative_to(folder) if path.is_relative_to(folder) else path
    return os.fspath(short).replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")
