"""Images of environments: references, Dockerfiles, and the files that were built of them before.

A build runs in sandboxes of the engine, so a RUN is as isolated as any command; what it wrote is kept as a checkpoint
under the digest of all that it was made of, and every environment starts from a copy of that.
"""

import asyncio
import fnmatch
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from runyard.database.engine import Database
from runyard.database.errors import UniqueViolation
from runyard.environments import store
from runyard.environments.building.context import Context, Entry, digest_of
from runyard.environments.building.dockerfile import CopyStep, FolderStep, Reader, Recipe, RunStep, Step
from runyard.environments.building.files import make_folders, put_entries
from runyard.environments.building.model import Build, Image, ImageConfig
from runyard.environments.building.registries import Reference, Registries
from runyard.environments.building.users import as_user, owner_ids
from runyard.environments.errors import BuildFailed
from runyard.environments.options import EnvironmentOptions
from runyard.environments.running import Job, Run
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, RunyardError
from runyard.runtimes.injection import BASE_ENVIRONMENT
from runyard.runtimes.isolation.engine import BaseFacts, Engine, Sandbox, SandboxSpec

Say = Callable[[str], None]
FORMAT: Final = 1
"""Raise it when the same Dockerfile would be built differently."""
BUILD_PREFIX: Final = "build-"
"""Begins the names of the sandboxes in which images are built."""
STEP_SECS: Final = 600.0
SHOWN_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class _Planned:
    base: Image
    facts: BaseFacts
    recipe: Recipe
    copies: Mapping[int, Sequence[Entry]]
    digest: str


class ImageBuilder:
    """Finds and builds images."""

    def __init__(self, database: Database, engine: Engine, options: EnvironmentOptions) -> None:
        """Take the parts."""
        self._database = database
        self._engine = engine
        self._options = options
        self._devnull = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._registries = Registries(options.registries)
        self._fetching = asyncio.Lock()
        """One image at a time: several environments mostly want the same one."""
        self._building: dict[str, asyncio.Task[Image]] = {}

    def close(self) -> None:
        """Give back what was opened."""
        os.close(self._devnull)

    async def resolve(self, reference: str, say: Say) -> tuple[Image, BaseFacts]:
        """Return the image behind a reference: an imported one, what the operator put in its place, or one that an
        allowed registry has. Raises BuildFailed.
        """
        known = self._known_here(reference, say)
        if known is not None:
            return known
        place = self._registries.may_have(reference)
        if place is None:
            raise BuildFailed(
                f"there is no image {reference[:200]}: import one under that name (`runyard image import`), put a base"
                " in its place (the setting environments.image_map), or allow its registry (environments.registries)"
            )
        async with self._fetching:
            known = self._known_here(reference, say)
            return known or await self._fetched(reference, place, say)

    async def _fetched(self, reference: str, place: Reference, say: Say) -> tuple[Image, BaseFacts]:
        """Fetch an image and import it under its reference."""
        say(f"fetching {reference} from {place.host}")
        self._options.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._options.folder) as scratch:
            folder = Path(scratch) / "layout"
            folder.mkdir()
            await self._registries.fetch(place, folder, say)
            try:
                facts = await self._engine.import_image(folder, reference)
            except RunyardError as error:
                raise BuildFailed(f"the image {reference[:200]} cannot be used: {error.message}") from None
        return _image_of(facts), facts

    def _known_here(self, reference: str, say: Say) -> tuple[Image, BaseFacts] | None:
        bases = {facts.name: facts for facts in self._engine.bases()}
        for name in _spellings(reference):
            if name in bases and name != "host" and not name.startswith("dir:"):
                return _image_of(bases[name]), bases[name]
        for pattern, base in self._options.image_map.items():
            if any(fnmatch.fnmatchcase(name, pattern) for name in _spellings(reference)):
                if base not in bases:
                    raise BuildFailed(
                        f"the setting environments.image_map names a base {base} that is not there"
                    )
                say(f"{reference} stands for the base {base} here (environments.image_map)")
                return _image_of(bases[base]), bases[base]
        return None

    async def build(self, build: Build, say: Say) -> Image:
        """Return the image of a Dockerfile, building it unless it was built before. Raises BuildFailed, BadDockerfile."""
        reader = await asyncio.to_thread(_reader, build)
        base, facts = await self.resolve(reader.base(), say)
        return await self._built(await asyncio.to_thread(self._plan, build, reader, base, facts), say)

    async def image(self, reference: str, say: Say) -> Image:
        """Return the image of a service that names one and builds nothing. Raises BuildFailed."""
        base, facts = await self.resolve(reference, say)
        if not _shim(reference, facts):
            return base
        # What stands for it lacks a command that its name promises.
        config = base.config
        recipe = Recipe(reference=reference, env=dict(config.env), workdir=config.workdir, user=config.user)
        return await self._built(self._planned(recipe, {}, base, facts), say)

    async def _built(self, planned: _Planned, say: Say) -> Image:
        """Return what was planned, made unless it was made before."""
        known = await self._known(planned)
        if known is not None:
            return known
        task = self._building.get(planned.digest)
        if task is None:
            task = asyncio.ensure_future(self._make(planned, say))
            self._building[planned.digest] = task
            task.add_done_callback(lambda _: self._building.pop(planned.digest, None))
        else:
            say("another environment builds this image already: waiting for it")
        # Shielded: one environment that is torn down must not spoil it for the others.
        return await asyncio.shield(task)

    async def _known(self, planned: _Planned) -> Image | None:
        async with self._database.read() as tx:
            found = await store.image(tx, planned.digest)
        if found is None:
            return None
        async with self._database.transaction() as tx:
            await store.touch_image(tx, planned.digest, utc_now())
        return Image(
            base=found.base,
            checkpoint_id=found.checkpoint_id,
            config=msgspec.convert(found.config, ImageConfig),
        )

    def _plan(self, build: Build, reader: Reader, base: Image, facts: BaseFacts) -> _Planned:
        # A base that is no image says nothing of its PATH, and an ENV that adds to it must not lose it.
        env = {"PATH": BASE_ENVIRONMENT["PATH"], **base.config.env}
        recipe = reader.read(env, base.config.workdir, base.config.user)
        context = Context(build.context)
        copies = {
            index: list(context.entries(step.sources, step.target, step.line))
            for index, step in enumerate(recipe.steps)
            if isinstance(step, CopyStep)
        }
        return self._planned(recipe, copies, base, facts)

    def _planned(
        self, recipe: Recipe, copies: Mapping[int, Sequence[Entry]], base: Image, facts: BaseFacts
    ) -> _Planned:
        identity: list[Any] = [
            FORMAT,
            self._engine.name,
            base.base,
            facts.digest,
            _shim(recipe.reference, facts),
        ]
        identity += [msgspec.to_builtins(step) for step in recipe.steps]
        identity += [digest_of(entries) for entries in copies.values()]
        identity.append(msgspec.to_builtins(_config(recipe, base.config)))
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return _Planned(base, facts, recipe, copies, digest)

    async def _make(self, planned: _Planned, say: Say) -> Image:
        name = f"{BUILD_PREFIX}{uuid.uuid4().hex}"
        checkpoint_id = f"image-{planned.digest[:24]}"
        spec = SandboxSpec(
            id=name,
            hostname="build",
            base=planned.base.base,
            limits=self._options.limits,
            network=self._options.build_network,
        )
        sandbox = await self._engine.create(spec)
        try:
            if _shim(planned.recipe.reference, planned.facts):
                await self._shell(sandbox, _PYTHON_SHIM)
            for index, step in enumerate(planned.recipe.steps):
                await self._step(sandbox, step, planned.copies.get(index, ()), say)
            await sandbox.destroy(keep_layer=True)
            size = await self._engine.capture(name, checkpoint_id)
        finally:
            await asyncio.shield(self._clean(sandbox, name))
        config = _config(planned.recipe, planned.base.config)
        await self._remember(planned, checkpoint_id, config, size)
        return Image(base=planned.base.base, checkpoint_id=checkpoint_id, config=config)

    async def _clean(self, sandbox: Sandbox, name: str) -> None:
        await sandbox.destroy(keep_layer=True)
        await self._engine.delete_layer(name)

    async def _remember(self, planned: _Planned, checkpoint_id: str, config: ImageConfig, size: int) -> None:
        now = utc_now()
        built = store.BuiltImage(
            digest=planned.digest,
            checkpoint_id=checkpoint_id,
            base=planned.base.base,
            config=msgspec.to_builtins(config),
            size_bytes=size,
            created_at=now,
            used_at=now,
        )
        try:
            async with self._database.transaction() as tx:
                await store.add_image(tx, built)
        except UniqueViolation:
            return
        await self._forget_unused()

    async def _forget_unused(self) -> None:
        async with self._database.read() as tx:
            known = await store.images_by_use(tx)
        for old in known[: max(0, len(known) - self._options.images_kept)]:
            async with self._database.transaction() as tx:
                await store.delete_image(tx, old.digest)
            await self._engine.delete_checkpoint(old.checkpoint_id)

    # --- steps -----------------------------------------------------------------------------------------------------

    async def _step(self, sandbox: Sandbox, step: Step, entries: Sequence[Entry], say: Say) -> None:
        if isinstance(step, FolderStep):
            await make_folders(sandbox, [step.path])
        elif isinstance(step, CopyStep):
            await self._copy(sandbox, step, entries, say)
        else:
            await self._run(sandbox, step, say)

    async def _copy(self, sandbox: Sandbox, step: CopyStep, entries: Sequence[Entry], say: Say) -> None:
        say(f"step at line {step.line}: COPY {' '.join(step.sources)} {step.target}")
        if step.mode is not None:
            entries = [replace(entry, mode=step.mode) for entry in entries]
        try:
            entries = await self._put(sandbox, step, entries)
        except RunyardError as error:
            raise BuildFailed(f"Dockerfile line {step.line}: {error.message}") from None
        if step.owner and entries:
            owner = await owner_ids(sandbox, step.owner)
            for start in range(0, len(entries), 200):
                targets = [entry.target for entry in entries[start : start + 200]]
                await self._program(sandbox, ("/bin/chown", owner, "--", *targets), step.line)

    async def _put(self, sandbox: Sandbox, step: CopyStep, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Write what is copied; return where it went: a file that is to replace a folder goes into that."""
        try:
            await put_entries(sandbox, entries)
        except InvalidArgument:
            if len(entries) != 1 or entries[0].folder or step.target.endswith("/"):
                raise
            (lone,) = entries
            entries = [replace(lone, target=f"{lone.target}/{lone.source.name}")]
            await put_entries(sandbox, entries)
        return entries

    async def _run(self, sandbox: Sandbox, step: RunStep, say: Say) -> None:
        say(f"step at line {step.line}: RUN {' '.join(step.argv[2:] or step.argv)[:500]}")
        job = Job(
            argv=await as_user(sandbox, step.user, step.argv),
            env={**BASE_ENVIRONMENT, **step.env},
            cwd=step.workdir,
            timeout_secs=STEP_SECS,
            keep_bytes=SHOWN_BYTES,
        )
        done = await Run(sandbox, job, self._devnull).quietly()
        if text := done.output.text.strip():
            say(text)
        if done.timed_out:
            raise BuildFailed(f"Dockerfile line {step.line}: RUN took longer than {STEP_SECS:g} seconds")
        if done.code != 0:
            last = (text.splitlines() or ["it printed nothing"])[-1][:300]
            raise BuildFailed(f"Dockerfile line {step.line}: RUN ended with exit code {done.code}: {last}")

    async def _program(self, sandbox: Sandbox, argv: Sequence[str], line: int) -> None:
        done = await Run(sandbox, Job(argv=argv, env=BASE_ENVIRONMENT, cwd="/"), self._devnull).quietly()
        if done.code != 0:
            raise BuildFailed(f"Dockerfile line {line}: {argv[0]}: {done.output.text.strip()[:300]}")

    async def _shell(self, sandbox: Sandbox, script: str) -> None:
        await Run(
            sandbox, Job(argv=("/bin/sh", "-c", script), env=BASE_ENVIRONMENT, cwd="/"), self._devnull
        ).quietly()


_PYTHON_SHIM: Final = 'command -v python >/dev/null || { mkdir -p /usr/local/bin && ln -s "$(command -v python3)" /usr/local/bin/python; }'


def _reader(build: Build) -> Reader:
    path = build.context / build.dockerfile
    if not path.resolve().is_relative_to(build.context.resolve()) or not path.is_file():
        raise BuildFailed(f"there is no {build.dockerfile[:200]} in the build context")
    return Reader(path.read_text("utf-8", "replace"), build.args, build.dockerfile)


def _shim(reference: str, facts: BaseFacts) -> bool:
    """Tell whether the base stands for an image of Python, which has a command `python` that Debian has not."""
    return facts.name == "host" and reference.rpartition("/")[2].startswith("python:")


def _spellings(reference: str) -> list[str]:
    """Return the ways to write a reference, the given one first."""
    short = reference
    for prefix in ("docker.io/library/", "docker.io/", "library/"):
        short = short.removeprefix(prefix)
    named = short if ":" in short.rpartition("/")[2] or "@" in short else f"{short}:latest"
    return list(dict.fromkeys((reference, short, named, named.removesuffix(":latest"))))


def _image_of(facts: BaseFacts) -> Image:
    config = ImageConfig(
        env=facts.env,
        workdir=facts.workdir or "/",
        user=facts.user,
        entrypoint=facts.entrypoint,
        command=facts.command,
    )
    return Image(base=facts.name, config=config)


def _config(recipe: Recipe, base: ImageConfig) -> ImageConfig:
    own_program = recipe.entrypoint is not None
    command = recipe.command if recipe.command is not None else (() if own_program else base.command)
    return ImageConfig(
        env=recipe.env,
        workdir=recipe.workdir,
        user=recipe.user,
        entrypoint=tuple(recipe.entrypoint if recipe.entrypoint is not None else base.entrypoint),
        command=tuple(command),
        ports=tuple(recipe.ports),
        health=None if recipe.no_health else recipe.health or base.health,
    )
