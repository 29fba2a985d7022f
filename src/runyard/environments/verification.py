"""Judges the outcome of a task. Owns the separate copy in which scripts judge, and what is carried into it.

The place where the agent worked is never believed: a flag is read by the engine, without any program of that place; a
script runs in a fresh, offline sandbox made of the task's own image, into which only the declared outputs are carried.
"""

import asyncio
import contextlib
import hashlib
import hmac
import os
import posixpath
import tarfile
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, Final

from runyard.environments.building.context import Entry
from runyard.environments.building.files import make_folders, put_content, put_entries, read_file
from runyard.environments.building.model import Image, ImageConfig, Materials
from runyard.environments.errors import VerificationUnsupported
from runyard.environments.keeper import EnvironmentKeeper, place_of
from runyard.environments.options import EnvironmentOptions
from runyard.environments.packages.model import KeptTask, Verification
from runyard.environments.provisioning import VERIFY_PREFIX
from runyard.environments.resident import Resident
from runyard.environments.rewards import Verdict, rewarded
from runyard.environments.running import Done, Job, Run
from runyard.environments.staging import TASK_FOLDER, package_files, script_argv
from runyard.environments.variables import command_variables, text_of
from runyard.executions.model import Kind, NewExecution, Outcome, Status
from runyard.executions.service import ExecutionService
from runyard.executions.worker import RunContext
from runyard.identity.model import Principal
from runyard.kernel.errors import InvalidArgument, NotFound, TooLarge, Unavailable
from runyard.runtimes.injection import BASE_ENVIRONMENT
from runyard.runtimes.isolation.engine import Engine, Network, Sandbox, SandboxSpec

FLAG_BYTES: Final = 1 << 20
OUTPUT_BYTES: Final = 256 << 10
LINKS_MAX: Final = 500


class Verifier:
    """Judges environments."""

    def __init__(
        self,
        engine: Engine,
        executions: ExecutionService,
        keeper: EnvironmentKeeper,
        options: EnvironmentOptions,
    ) -> None:
        """Take the parts."""
        self._engine = engine
        self._executions = executions
        self._keeper = keeper
        self._options = options
        self._devnull = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give back what was opened."""
        os.close(self._devnull)

    async def verify(
        self, caller: Principal, resident: Resident, outputs: Sequence[str] | None, request_id: str, door: str
    ) -> Verdict:
        """Judge, as an execution of the ledger. `outputs` stand for what the task declares. Raises
        VerificationUnsupported, InvalidArgument, TooManyExecutes, Unavailable.
        """
        package = await self._keeper.package(resident.environment)
        judged = package.manifest.verification
        carried = _outputs(package, outputs)
        if judged.method not in ("flag", "script"):
            raise VerificationUnsupported(
                f"verification by {judged.method} is not implemented: it needs a model"
            )
        if judged.method == "script" and carried is None:
            raise VerificationUnsupported(
                "the task declares no outputs, so nothing of the agent's work would reach the judge: declare `outputs`"
                " in task.yaml, or name them in the request"
            )
        work = _Work(self, resident, package, judged, tuple(carried or ()))
        environment = resident.environment
        new = NewExecution(
            account_id=environment.account_id,
            project_id=environment.project_id,
            project_path=environment.project_path,
            kind=Kind.VERIFY,
            name=environment.task_ref,
            actor=caller.actor,
            door=door,
            place=place_of(environment),
            command=f"verify by {judged.method}",
            request_id=request_id,
        )
        # A place among the commands: a judge's copy costs more than a command, and both may wait in line.
        await resident.gate.enter()
        try:
            handle = await self._executions.start(new, work, secrets=resident.masks)
            ended = await handle.finished()
        finally:
            resident.gate.leave()
        if work.verdict is None:
            raise Unavailable(ended.status_reason or "the verification was not run")
        return replace(work.verdict, execution_id=str(ended.id))

    # --- flags -----------------------------------------------------------------------------------------------------

    async def judge_flag(self, resident: Resident, judged: Verification) -> Verdict:
        """Compare a file of the environment with what is expected."""
        assert judged.path is not None
        sandbox = resident.living.main
        assert sandbox is not None
        try:
            content = await read_file(sandbox, judged.path, FLAG_BYTES)
        except NotFound:
            return Verdict(reward=0.0, method="flag", detail=f"there is no file {judged.path}")
        except (InvalidArgument, TooLarge) as error:
            return Verdict(reward=0.0, method="flag", detail=error.message)
        found = content.strip()
        if judged.hash is not None:
            algorithm, expected = judged.hash
            right = hmac.compare_digest(hashlib.new(algorithm, found).hexdigest(), expected.lower())
        else:
            right = hmac.compare_digest(found, (judged.value or "").strip().encode())
        detail = "the flag is right" if right else "the flag is wrong"
        return Verdict(reward=1.0 if right else 0.0, method="flag", detail=detail)

    # --- scripts ---------------------------------------------------------------------------------------------------

    async def judge_script(
        self, resident: Resident, package: KeptTask, outputs: Sequence[str], context: RunContext
    ) -> Verdict:
        """Run the script of a task in a fresh copy with the declared outputs."""
        materials = await self._keeper.materials(resident, package)
        image = _main_image(materials, self._options)
        spec = SandboxSpec(
            id=f"{VERIFY_PREFIX}{uuid.uuid4().hex}",
            hostname="verifier",
            base=image.base,
            limits=self._options.limits,
            network=Network.NONE,
            restore_from=image.checkpoint_id,
        )
        sandbox = await self._engine.create(spec)
        try:
            judges = await asyncio.to_thread(_judges_files, package)
            try:
                carried = await self._carry(resident, sandbox, outputs, Reserved.of(judges, package))
            except (TooLarge, InvalidArgument) as error:
                # What the agent left cannot be carried: its own doing, and no failure of the judge.
                return Verdict(reward=0.0, method="script", detail=f"outputs: {error.message}")
            await self._stage(sandbox, package, judges)
            done = await self._run(sandbox, resident, package, image, context)
            verdict = await self._judged(sandbox, package, done)
            return replace(verdict, outputs=carried, output=done.output.text)
        finally:
            await sandbox.destroy(keep_layer=False)

    async def _carry(
        self, resident: Resident, copy: Sandbox, outputs: Sequence[str], reserved: "Reserved"
    ) -> Sequence[str]:
        """Carry what is below the declared paths, and nothing else; return the paths at which there was something."""
        source = resident.living.main
        assert source is not None
        if not outputs:
            return ()
        self._options.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._options.folder) as packed:
            absent = await source.pack(outputs, packed, self._options.outputs_bytes)
            packed.seek(0)
            # What the agent removed must not be there again.
            await self._program(copy, ("/bin/rm", "-rf", "--", *outputs))
            await self._unpack(copy, packed, reserved)
        return [path for path in outputs if path not in absent]

    async def _unpack(self, copy: Sandbox, packed: IO[bytes], reserved: "Reserved") -> None:
        with tarfile.open(fileobj=packed, mode="r:") as archive:
            folders: list[str] = []
            links: list[tuple[str, str]] = []
            for member in archive:
                target = f"/{member.name}"
                if member.isdir():
                    folders.append(target)
                elif member.issym():
                    links.append((member.linkname, target))
                elif not reserved.holds(target):
                    content = archive.extractfile(member)
                    assert content is not None
                    # A name that cannot be written, or where something else is in the image, is passed over.
                    with contextlib.suppress(InvalidArgument):
                        await put_content(copy, target, content, member.mode & 0o777)
            for folder in folders:
                if not reserved.holds(folder, folder=True):
                    with contextlib.suppress(InvalidArgument):
                        await make_folders(copy, [folder])
            if len(links) > LINKS_MAX:
                raise TooLarge(f"there are more than {LINKS_MAX} links")
            # Last, so that no file is written through one.
            for content_of, target in links:
                if not reserved.holds(target) and not reserved.is_led_to(content_of, target):
                    with contextlib.suppress(InvalidArgument):
                        await self._program(copy, ("/bin/ln", "-sfn", "--", content_of, target))

    async def _program(self, sandbox: Sandbox, argv: Sequence[str]) -> None:
        await Run(sandbox, Job(argv=argv, env=BASE_ENVIRONMENT, cwd="/"), self._devnull).quietly()

    async def _stage(self, sandbox: Sandbox, package: KeptTask, judges: Sequence[Entry]) -> None:
        """Put the task's own files over what was carried, so that no output takes the place of a judge."""
        await make_folders(sandbox, [TASK_FOLDER, *_verifier_files(package).values()])
        await put_entries(sandbox, judges)
        rewards = _reward_folder(package)
        if rewards is not None:
            # Whatever an image or an output brought: only what this run writes counts.
            await self._program(sandbox, ("/bin/rm", "-rf", "--", rewards))
            await make_folders(sandbox, [rewards])

    async def _run(
        self, sandbox: Sandbox, resident: Resident, package: KeptTask, image: Image, context: RunContext
    ) -> Done:
        environment, judged = resident.environment, package.manifest.verification
        assert judged.script is not None
        templates = {**environment.variables, **environment.definition.inputs}
        job = Job(
            argv=script_argv(package.root, judged.script),
            env={
                **BASE_ENVIRONMENT,
                **image.config.env,
                **command_variables(templates=templates, models={}, secrets={}),
                **_judge_variables(package),
            },
            cwd=image.config.workdir if _reward_folder(package) is not None else TASK_FOLDER,
            timeout_secs=judged.timeout_sec,
            keep_bytes=OUTPUT_BYTES,
        )
        return await Run(sandbox, job, self._devnull).finish(context)

    async def _judged(self, sandbox: Sandbox, package: KeptTask, done: Done) -> Verdict:
        if done.timed_out:
            limit = package.manifest.verification.timeout_sec
            return Verdict(reward=0.0, method="script", detail=f"the script took longer than {limit} seconds")
        folder = _reward_folder(package)
        if folder is None:
            right = done.code == 0
            return Verdict(
                reward=1.0 if right else 0.0,
                method="script",
                detail=f"the script ended with exit code {done.code}",
            )
        return await rewarded(sandbox, folder)


@dataclass(frozen=True, slots=True)
class Reserved:
    """The places of the judge in the copy. An output must not be at one, nor lead to one: a link of the agent that ends at
    the expected answer would be the right answer.
    """

    places: frozenset[str]
    """Files of the judge, and the folder of its reward with all below."""
    above: frozenset[str]
    """The folders that lead to them."""

    @classmethod
    def of(cls, judges: Sequence[Entry], package: KeptTask) -> "Reserved":
        """Reserve the places of a judge's files and that of its reward."""
        rewards = _reward_folder(package)
        given = [entry.target for entry in judges] + ([rewards] if rewards else [])
        # Two slashes at the begin are kept by normpath.
        places = {f"/{posixpath.normpath(path).lstrip('/')}" for path in given}
        return cls(frozenset(places), frozenset(up for place in places for up in _folders_above(place)))

    def holds(self, path: str, *, folder: bool = False) -> bool:
        """Tell whether something at a path would be in the judge's way."""
        if path in self.places or (path in self.above and not folder):
            return True
        return any(up in self.places for up in _folders_above(path))

    def is_led_to(self, link: str, path: str) -> bool:
        """Tell whether a link at a path ends at a place, or at a folder from which one goes on to it."""
        return self.holds(posixpath.normpath(posixpath.join(posixpath.dirname(path), link)))


def _folders_above(path: str) -> Iterator[str]:
    while (path := posixpath.dirname(path)) != "/":
        yield path


class _Work:
    """One verification; the runner of its execution."""

    def __init__(
        self,
        verifier: Verifier,
        resident: Resident,
        package: KeptTask,
        judged: Verification,
        outputs: Sequence[str],
    ) -> None:
        self._verifier = verifier
        self._resident = resident
        self._package = package
        self._judged = judged
        self._outputs = outputs
        self.verdict: Verdict | None = None

    async def __call__(self, context: RunContext) -> Outcome:
        if self._judged.method == "flag":
            verdict = await self._verifier.judge_flag(self._resident, self._judged)
        else:
            verdict = await self._verifier.judge_script(self._resident, self._package, self._outputs, context)
        self.verdict = verdict
        status = Status.FAILED if verdict.reward is None else Status.SUCCEEDED
        result = {"reward": verdict.reward, "passed": verdict.passed, "detail": verdict.detail}
        return Outcome(status=status, reason=verdict.detail, result=result)


def _outputs(package: KeptTask, given: Sequence[str] | None) -> Sequence[str] | None:
    """Return the paths to carry: those of the request, else those that the task declares. Raises InvalidArgument."""
    chosen: Any = given if given is not None else package.manifest.document.get("outputs")
    if chosen is None:
        return None
    if not isinstance(chosen, list | tuple) or len(chosen) > 64:
        raise InvalidArgument("outputs: must be a list of at most 64 paths", loc=["body", "outputs"])
    for path in chosen:
        if (
            not isinstance(path, str)
            or not path.startswith("/")
            or ".." in path.split("/")
            or "\0" in path
            or len(path) > 1024
        ):
            raise InvalidArgument("outputs: must be absolute paths without `..`", loc=["body", "outputs"])
        if not path.strip("/"):
            raise InvalidArgument("outputs: must not be the root folder", loc=["body", "outputs"])
    return [str(path) for path in chosen]


def _judges_files(package: KeptTask) -> Sequence[Entry]:
    """Return the files of the package with their places in the copy. Blocking."""
    solution = package.manifest.solution
    found = list(package_files(package.root, [package.root / solution] if solution else []))
    for name, target in _verifier_files(package).items():
        found += package_files(package.root / name, (), target)
    return found


def _verifier_files(package: KeptTask) -> Mapping[str, str]:
    """Return folders of the package that the judge finds in other places as well, by name."""
    given = package.manifest.document.get("verifier_files")
    if not isinstance(given, dict):
        return {}
    return {
        str(name): str(target)
        for name, target in given.items()
        if str(target).startswith("/")
        and ".." not in str(name).split("/")
        and (package.root / str(name)).is_dir()
    }


def _judge_variables(package: KeptTask) -> Mapping[str, str]:
    """Return the variables that the task gives to its judge."""
    given = package.manifest.document.get("verifier_env")
    return {str(name): text_of(value) for name, value in given.items()} if isinstance(given, dict) else {}


def _reward_folder(package: KeptTask) -> str | None:
    """Return the folder in which the judge leaves a reward; None when its exit code says all."""
    given = package.manifest.document.get("reward_folder")
    if not isinstance(given, str) or not given.startswith("/") or ".." in given.split("/"):
        return None
    return posixpath.normpath(given) if given.strip("/") else None


def _main_image(materials: Materials, options: EnvironmentOptions) -> Image:
    """Return what the place of commands is made of."""
    main = materials.blueprint.main
    if main is None:
        return Image(base=options.base, config=ImageConfig(workdir="/root"))
    return materials.images[main]
