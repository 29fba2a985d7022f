"""Makes an environment: images, sandboxes, networks, services, files, the provision script. Owns the order of the steps.

The first step that fails fails the environment; what was made until then is removed by `remove`, which is idempotent.
"""

import asyncio
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from runyard.environments import starting
from runyard.environments.blueprint import blueprint_of
from runyard.environments.building.compose import compose_file
from runyard.environments.building.files import make_folders, put_entries
from runyard.environments.building.images import BUILD_PREFIX, ImageBuilder
from runyard.environments.building.model import Blueprint, Image, ImageConfig, Materials, ServicePlan
from runyard.environments.egress import Allowed, Gateway, proxy_variables
from runyard.environments.errors import BadCompose, BadDockerfile, BuildFailed, ProvisionFailed
from runyard.environments.options import EnvironmentOptions
from runyard.environments.packages.model import KeptTask, ScriptUse
from runyard.environments.proxies import Proxy
from runyard.environments.resident import Living, Resident, Service
from runyard.environments.running import Done, Job, Run
from runyard.environments.staging import TASK_FOLDER, carried_files, package_files, script_argv
from runyard.environments.variables import command_variables, service_variables
from runyard.executions.model import Outcome
from runyard.executions.output.model import Stream
from runyard.executions.worker import RunContext
from runyard.kernel.errors import RunyardError, Unavailable
from runyard.runtimes.buffered import outcome_of
from runyard.runtimes.injection import BASE_ENVIRONMENT
from runyard.runtimes.isolation.engine import CannotEnforce, Engine, Exit, Limits, Sandbox, SandboxSpec

VERIFY_PREFIX: Final = "verify-"
"""Begins the names of the sandboxes in which judges work."""
ENTRANCE: Final = ".entrance"
"""The network of the place of commands with the exposed services; no compose file can name it."""
PROVISION_BYTES: Final = 1 << 20
"""Largest answer of a provision script."""


class Log:
    """Lines about a provisioning, for the log of its execution."""

    def __init__(self, context: RunContext | None) -> None:
        """Write into the log of an execution, or nowhere."""
        self._context = context

    def __call__(self, line: str) -> None:
        """Write a line."""
        if self._context is not None:
            self._context.output.write(Stream.SYSTEM, line.rstrip("\n").encode("utf-8", "replace") + b"\n")


class Provisioner:
    """Makes environments and takes them away."""

    def __init__(self, engine: Engine, images: ImageBuilder, options: EnvironmentOptions) -> None:
        """Take the parts."""
        self._engine = engine
        self._images = images
        self._options = options
        self._devnull = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._built: set[str] = set()

    def close(self) -> None:
        """Give back what was opened."""
        os.close(self._devnull)

    # --- images ----------------------------------------------------------------------------------------------------

    def needs_build(self, package: KeptTask) -> bool:
        """Tell whether images of a package may have to be built; none that this server has seen needs it again."""
        return package.layer_digest not in self._built and compose_file(package.root) is not None

    async def build(self, resident: Resident, package: KeptTask, log: Log) -> Materials:
        """Read what a package needs and build its images. Raises BuildFailed, ProvisionFailed."""
        if self._engine.name == "process":
            # Its paths are the host's own: a task's files would land there.
            raise ProvisionFailed(
                "environments need the engine `namespaces`: the engine `process` isolates nothing"
            )
        variables = self._given(resident)
        try:
            blueprint = await asyncio.to_thread(blueprint_of, package, variables, self._options.network)
            images = {name: await self._image(plan, log) for name, plan in blueprint.services.items()}
        except (BadCompose, BadDockerfile) as error:
            raise BuildFailed(error.message) from None
        self._built.add(package.layer_digest)
        return Materials(package=package, blueprint=blueprint, images=images)

    async def _image(self, plan: ServicePlan, log: Log) -> Image:
        if plan.build is not None:
            log(f"service {plan.name}: building {plan.build.dockerfile}")
            return await self._images.build(plan.build, log)
        assert plan.image is not None
        return await self._images.image(plan.image, log)

    def _given(self, resident: Resident) -> dict[str, str]:
        definition = resident.environment.definition
        return command_variables(
            templates=definition.inputs, models=definition.models, secrets=resident.secrets
        )

    # --- sandboxes -------------------------------------------------------------------------------------------------

    async def assemble(self, resident: Resident, materials: Materials, log: Log) -> dict[str, Any]:
        """Make the sandboxes and start the services; return how those are reached. Raises ProvisionFailed and what the
        engine raises.
        """
        blueprint, living = materials.blueprint, resident.living
        prefix = str(resident.environment.id)
        for name, plan in blueprint.services.items():
            sandbox = await self._sandbox(f"{prefix}.{name}", plan, materials.images[name], blueprint)
            living.services[name] = Service(name, sandbox)
            _settle_service(living.services[name], plan, materials.images[name])
        if blueprint.main is None:
            own = ServicePlan(name="main", hostname="environment", networks=_entrances(blueprint))
            image = Image(base=self._options.base, config=ImageConfig(workdir="/root"))
            living.main = await self._sandbox(prefix, own, image, blueprint)
            living.cwd = "/root"
        else:
            own = blueprint.services[blueprint.main]
            image = materials.images[blueprint.main]
            living.main = living.services[blueprint.main].sandbox
            living.cwd = own.working_dir or image.config.workdir or "/"
        await self._open_gateway(living, blueprint)
        proxies = living.proxy_env.get(living.main.id, {})
        living.base_env = {**BASE_ENVIRONMENT, **proxies, **image.config.env, **own.environment}
        await self._connect(resident, own, blueprint)
        await self._start_services(living, materials, log)
        return await self._publish(resident, blueprint)

    async def _sandbox(self, name: str, plan: ServicePlan, image: Image, blueprint: Blueprint) -> Sandbox:
        spec = SandboxSpec(
            id=name,
            hostname=plan.hostname or plan.name,
            base=image.base,
            limits=limits_of(plan, self._options.limits),
            network=blueprint.network,
            restore_from=image.checkpoint_id,
        )
        return await self._engine.create(spec)

    async def _open_gateway(self, living: Living, blueprint: Blueprint) -> None:
        """Let listed targets be reached: the server connects for the sandboxes."""
        if blueprint.egress is None:
            return
        closed = (ip_network(self._options.sandbox_addresses),)
        living.gateway = Gateway(Allowed.of(blueprint.egress), closed)
        for sandbox in living.sandboxes:
            bound = await sandbox.listen()
            port = bound.getsockname()[1]
            await living.gateway.listen(bound)
            living.proxy_env[sandbox.id] = proxy_variables(port, list(blueprint.services))
        for service in living.services.values():
            service.env = {**living.proxy_env[service.sandbox.id], **service.env}

    async def _connect(self, resident: Resident, own: ServicePlan, blueprint: Blueprint) -> None:
        """Join all sandboxes to their networks and tell each the names that it reaches there."""
        living, plans = resident.living, dict(blueprint.services)
        if not plans:
            return
        if blueprint.main is None:
            plans[""] = own
        addresses: dict[str, dict[str, str]] = {}
        for key, plan in plans.items():
            sandbox = living.services[key].sandbox if key else living.main
            assert sandbox is not None
            joined = dict(plan.networks)
            if key in blueprint.exposed and blueprint.main is None:
                joined[ENTRANCE] = ()
            for network, aliases in joined.items():
                if network not in living.networks:
                    name = f"{resident.environment.id}.{network}"
                    living.networks[network] = await self._engine.make_network(name)
                address = await living.networks[network].join(sandbox)
                names = (key, *aliases, *((plan.hostname,) if plan.hostname and key else ()))
                addresses.setdefault(network, {}).update({name: address for name in names if name})
                if key:
                    living.services[key].address = living.services[key].address or address
        for key, plan in plans.items():
            sandbox = living.services[key].sandbox if key else living.main
            assert sandbox is not None
            known: dict[str, str] = {}
            for network in plan.networks:
                # Of two addresses of a neighbour, that in the network which is named first.
                known = {**addresses.get(network, {}), **known}
            await sandbox.set_hosts(known)

    async def _start_services(self, living: Living, materials: Materials, log: Log) -> None:
        blueprint = materials.blueprint
        for name, plan in blueprint.services.items():
            service, image = living.services[name], materials.images[name]
            for needed, what in plan.depends_on.items():
                other = living.services[needed]
                if what == "completed":
                    await starting.wait_completed(other)
                elif what == "healthy":
                    await starting.wait_healthy(
                        other, blueprint.services[needed], materials.images[needed], self._devnull
                    )
            await make_folders(service.sandbox, plan.folders)
            for carried in plan.carried:
                await put_entries(service.sandbox, carried_files(carried.source, carried.target))
            if name == blueprint.main and not _has_program(plan, image):
                continue
            log(f"service {name}: starting")
            await starting.start(service, plan, image, self._devnull)
        await asyncio.gather(
            *(
                starting.wait_healthy(living.services[name], plan, materials.images[name], self._devnull)
                for name, plan in blueprint.services.items()
                if living.services[name].task is not None and not self._completes(name, blueprint)
            )
        )

    @staticmethod
    def _completes(name: str, blueprint: Blueprint) -> bool:
        return any(plan.depends_on.get(name) == "completed" for plan in blueprint.services.values())

    async def _publish(self, resident: Resident, blueprint: Blueprint) -> dict[str, Any]:
        """Publish the exposed ports on the host, and under the same address inside; nothing else is reachable."""
        known = resident.environment.service_urls or {}
        urls: dict[str, Any] = {}
        for name, ports in blueprint.exposed.items():
            service = resident.living.services[name]
            await starting.wait_listening(service, ports)
            places = {
                port: await self._publish_port(resident.living, service, port, _known_port(known, name, port))
                for port in ports
            }
            host = self._options.service_host
            first = places[ports[0]]
            urls[name] = {
                "url": f"http://{host}:{first}",
                "host": host,
                "port": first,
                "urls": {str(port): f"http://{host}:{place}" for port, place in places.items()},
                "internal_url": f"http://{name}:{ports[0]}",
            }
        return urls

    async def _publish_port(self, living: Living, service: Service, port: int, wanted: int) -> int:
        proxy = Proxy((service.address, port))
        living.proxies.append(proxy)
        inside = await self._inside(living, wanted)
        if inside is not None:
            wanted = inside.getsockname()[1]
        place = await proxy.listen(self._options.service_host, wanted)
        if inside is not None and place != wanted:
            # Taken on the host: then the host's choice, if that is free inside.
            inside.close()
            inside = await self._inside(living, place)
        if inside is not None:
            await proxy.listen_also(inside)
        return place

    async def _inside(self, living: Living, port: int) -> socket.socket | None:
        """Open a port where commands run, so that the address which clients are told works there too."""
        if living.main is None or self._options.service_host != "127.0.0.1":
            return None
        with suppress(Unavailable):
            return await living.main.listen(port)
        return None

    # --- files and scripts -----------------------------------------------------------------------------------------

    def set_variables(
        self, resident: Resident, service_urls: Mapping[str, Any], variables: Mapping[str, Any]
    ) -> None:
        """Settle the environment of commands; inputs win over what the provision script answered."""
        definition = resident.environment.definition
        inside = {
            name: {**facts, "url": facts["internal_url"], "host": name, "urls": {}}
            for name, facts in service_urls.items()
        }
        for name, facts in service_urls.items():
            inside[name]["port"] = facts["internal_url"].rpartition(":")[2]
            inside[name]["urls"] = {port: f"http://{name}:{port}" for port in facts["urls"]}
        templates = {**service_variables(inside), **variables, **definition.inputs}
        resident.living.env = {
            **resident.living.base_env,
            **command_variables(templates=templates, models=definition.models, secrets=resident.secrets),
        }

    async def furnish(
        self, resident: Resident, materials: Materials, service_urls: Mapping[str, Any], log: Log
    ) -> dict[str, Any]:
        """Put the task's files in place and run its provision script; return what that answered.
        Raises ProvisionFailed.
        """
        living, package = resident.living, materials.package
        assert living.main is not None
        await make_folders(living.main, [TASK_FOLDER])
        await put_entries(living.main, package_files(package.root, materials.blueprint.hidden))
        self.set_variables(resident, service_urls, {})
        use: ScriptUse | None = package.manifest.provision
        if use is None:
            return {}
        log(f"running {use.script}")
        done = await self._script(resident, use, package.root)
        if done.stderr is not None and done.stderr.text.strip():
            log(done.stderr.text)
        answer = _answer(use, done)
        self.set_variables(resident, service_urls, answer)
        return answer

    async def _script(self, resident: Resident, use: ScriptUse, root: Path) -> Done:
        living = resident.living
        assert living.main is not None
        job = Job(
            argv=script_argv(root, use.script),
            env=living.env,
            cwd=TASK_FOLDER,
            timeout_secs=use.timeout_sec,
            split=True,
            keep_bytes=2 * PROVISION_BYTES,
        )
        return await Run(living.main, job, self._devnull).quietly()

    async def last_script(
        self, resident: Resident, package: KeptTask, use: ScriptUse, context: RunContext
    ) -> Outcome:
        """Run the teardown script as an execution."""
        living = resident.living
        assert living.main is not None
        job = Job(
            argv=script_argv(package.root, use.script),
            env=living.env,
            cwd=TASK_FOLDER,
            timeout_secs=use.timeout_sec,
            keep_bytes=4096,
        )
        done = await Run(living.main, job, self._devnull).finish(context)
        exited = Exit(code=None if done.signal else done.code, signal=done.signal)
        return outcome_of(exited, done.why, done.code, context.cancel_reason)

    async def drop_unfinished(self) -> None:
        """Remove the files of builds and of judges' copies that a killed server left. Call it before any begins."""
        # A host that cannot isolate has a server all the same.
        with suppress(CannotEnforce):
            for prefix in (BUILD_PREFIX, VERIFY_PREFIX):
                for name in self._engine.layers(prefix):
                    await self._engine.delete_layer(name)

    # --- the end ---------------------------------------------------------------------------------------------------

    async def remove(self, resident: Resident) -> None:
        """Free everything of an environment, files included, whoever made it; idempotent."""
        names = {str(resident.environment.id), *(sandbox.id for sandbox in resident.living.sandboxes)}
        await self.lay_down(resident)
        for name in await self._layers(resident, names):
            await self._engine.delete_layer(name)

    async def lay_down(self, resident: Resident) -> None:
        """End the sandboxes of an environment and all around them; its files stay."""
        living = resident.living
        for sandbox in living.sandboxes:
            await sandbox.destroy(keep_layer=True)
        await self.let_go(living)
        for network in living.networks.values():
            await network.close()
        resident.living = Living()

    async def _layers(self, resident: Resident, known: set[str]) -> Sequence[str]:
        """Return the names of all layers that an environment may have, those of an earlier server included."""
        return sorted(known | set(self._engine.layers(str(resident.environment.id))))

    async def unpublish(self, living: Living) -> None:
        """Stop publishing ports."""
        proxies, living.proxies = living.proxies, []
        for proxy in proxies:
            with suppress(RunyardError, OSError):
                await proxy.close()

    async def let_go(self, living: Living) -> None:
        """Stop publishing ports, letting out and following services; sandboxes stay."""
        await self.unpublish(living)
        # Not sooner: the teardown script cleans up outside.
        if living.gateway is not None:
            await living.gateway.close()
        for service in living.services.values():
            if service.task is not None and service.ended is None:
                service.task.cancel()
                await asyncio.wait((service.task,))


def limits_of(plan: ServicePlan, most: Limits) -> Limits:
    """Return the limits of a service: what its compose file says, within the operator's. No operator's, no limits."""
    if most == Limits():
        return most
    return replace(
        most,
        memory_bytes=min((one for one in (plan.memory_bytes, most.memory_bytes) if one), default=None),
        cpus=min((one for one in (plan.cpus, most.cpus) if one), default=None),
    )


def _answer(use: ScriptUse, done: Done) -> dict[str, Any]:
    """Return the variables that a provision script answered. Raises ProvisionFailed."""
    if done.timed_out:
        raise ProvisionFailed(f"the provision script took longer than {use.timeout_sec} seconds")
    if done.code != 0:
        said = done.stderr.text.strip()[-500:] if done.stderr is not None else ""
        raise ProvisionFailed(
            f"the provision script ended with exit code {done.code}{': ' + said if said else ''}"
        )
    assert done.stdout is not None
    try:
        answer = json.loads(done.stdout.text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise ProvisionFailed("the provision script did not print one JSON object")
    return answer


def _entrances(blueprint: Blueprint) -> Mapping[str, Sequence[str]]:
    """Return the networks that the place of commands joins: one with the exposed services alone, so that what lies behind
    them has to be reached through them; all networks where nothing is exposed.
    """
    if blueprint.exposed:
        return {ENTRANCE: ()}
    return {network: () for plan in blueprint.services.values() for network in plan.networks}


def _settle_service(service: Service, plan: ServicePlan, image: Image) -> None:
    """Say what its program and commands in it find."""
    service.env = {**BASE_ENVIRONMENT, **image.config.env, **plan.environment}
    service.cwd = plan.working_dir or image.config.workdir or "/"


def _has_program(plan: ServicePlan, image: Image) -> bool:
    """Tell whether the place of commands, which need not run anything, says what to run."""
    return bool(plan.entrypoint or plan.command or image.config.entrypoint or image.config.command)


def _known_port(known: Mapping[str, Any], name: str, port: int) -> int:
    """Return the port on the host under which a service was published before a restart; 0 for none."""
    url = known.get(name, {}).get("urls", {}).get(str(port), "")
    last = str(url).rpartition(":")[2]
    return int(last) if last.isdigit() else 0
