"""Judges the outcome of a task. Owns the separate copy in which scripts judge, and what is carried into it.

The place where the agent worked is never believed: a flag is read by the engine, without any program of that place; a
script runs in a fresh, offline sandbox made of the task's own image, into which only the declared outputs are carried.
"""

import asyncio
import functools
import hashlib
import hmac
import os
import posixpath
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from runyard.environments.building.context import Entry
from runyard.environments.building.files import make_folders, put_entries, read_file
from runyard.environments.building.model import Image, ImageConfig, Materials
from runyard.environments.carrying import Carrier, Reserved
from runyard.environments.commands import Pending
from runyard.environments.errors import VerificationUnsupported
from runyard.environments.keeper import EnvironmentKeeper, place_of
from runyard.environments.model import Environment
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
from runyard.executions.worker import RunContext, until_cancelled
from runyard.identity.model import Principal
from runyard.kernel.errors import InvalidArgument, NotFound, RunyardError, TooLarge
from runyard.runtimes.injection import BASE_ENVIRONMENT
from runyard.runtimes.isolation.engine import Engine, Network, Sandbox, SandboxSpec

FLAG_BYTES: Final = 1 << 20
OUTPUT_BYTES: Final = 256 << 10


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

    async def begin(
        self, caller: Principal, resident: Resident, outputs: Sequence[str] | None, request_id: str, door: str
    ) -> Pending[Verdict]:
        """Begin to judge, as an execution of the ledger. `outputs` stand for what the task declares. Raises
        VerificationUnsupported, InvalidArgument, TooManyExecutes.
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
        new = _execution(caller, resident.environment, judged.method, request_id, door)
        # A place among the commands: a judge's copy costs more than a command, and both may wait in line.
        await resident.gate.enter()
        try:
            handle = await self._executions.start(new, work, secrets=resident.masks)
        except BaseException:
            resident.gate.leave()
            raise
        resident.commands.add(handle)
        return Pending(handle, work, resident)

    # --- flags -----------------------------------------------------------------------------------------------------

    async def judge_flag(self, resident: Resident, judged: Verification) -> Verdict:
        """Compare a file of the environment with what is expected."""
        assert judged.path is not None
        sandbox = resident.living.main
        assert sandbox is not None
        # A relative one is meant from where commands run.
        path = posixpath.join(resident.living.cwd, judged.path)
        try:
            content = await read_file(sandbox, path, FLAG_BYTES)
        except NotFound:
            return Verdict(reward=0.0, method="flag", detail=f"there is no file {path}")
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
        place = _Place.of(materials, self._options)
        spec = SandboxSpec(
            id=f"{VERIFY_PREFIX}{uuid.uuid4().hex}",
            hostname="verifier",
            base=place.image.base,
            limits=self._options.limits,
            network=Network.NONE,
            restore_from=place.image.checkpoint_id,
        )
        sandbox = await self._engine.create(spec)
        try:
            judges = await asyncio.to_thread(_judges_files, package)
            source = resident.living.main
            assert source is not None
            reserved = Reserved.of(judges, _reward_folder(package))
            carrier = Carrier(source, sandbox, functools.partial(self._program, sandbox), reserved)
            try:
                carried = await carrier.carry(outputs, self._options.folder, self._options.outputs_bytes)
            except (TooLarge, InvalidArgument) as error:
                # What the agent left cannot be carried: its own doing, and no failure of the judge.
                return Verdict(reward=0.0, method="script", detail=f"outputs: {error.message}")
            await make_folders(sandbox, [TASK_FOLDER, place.folder])
            await self._stage(sandbox, package, judges)
            done = await self._run(sandbox, resident, package, place, context)
            verdict = await self._judged(sandbox, package, done)
            # Whoever may have it judged need not be whose secrets the environment has.
            return replace(verdict, outputs=carried, output=context.mask(done.output.text))
        finally:
            await sandbox.destroy(keep_layer=False)

    async def _program(self, sandbox: Sandbox, argv: Sequence[str]) -> None:
        await Run(sandbox, Job(argv=argv, env=BASE_ENVIRONMENT, cwd="/"), self._devnull).quietly()

    async def _stage(self, sandbox: Sandbox, package: KeptTask, judges: Sequence[Entry]) -> None:
        """Put the task's own files over what was carried, so that no output takes the place of a judge."""
        await make_folders(sandbox, _verifier_files(package).values())
        await put_entries(sandbox, judges)
        rewards = _reward_folder(package)
        if rewards is not None:
            # Whatever an image or an output brought: only what this run writes counts.
            await self._program(sandbox, ("/bin/rm", "-rf", "--", rewards))
            await make_folders(sandbox, [rewards])

    async def _run(
        self,
        sandbox: Sandbox,
        resident: Resident,
        package: KeptTask,
        place: "_Place",
        context: RunContext,
    ) -> Done:
        environment, judged = resident.environment, package.manifest.verification
        assert judged.script is not None
        templates = {**environment.variables, **environment.definition.inputs}
        job = Job(
            argv=script_argv(package.root, judged.script),
            env={
                **BASE_ENVIRONMENT,
                **place.env,
                **command_variables(templates=templates, models={}, secrets={}),
                **_judge_variables(package),
            },
            cwd=place.folder if _reward_folder(package) is not None else TASK_FOLDER,
            timeout_secs=judged.timeout_sec,
            keep_bytes=OUTPUT_BYTES,
        )
        return await Run(sandbox, job, self._devnull).finish(context)

    async def _judged(self, sandbox: Sandbox, package: KeptTask, done: Done) -> Verdict:
        if not done.started:
            detail = f"the script could not be run: {done.output.text.strip()}"
            return Verdict(reward=None, method="script", detail=detail)
        if done.timed_out:
            limit = package.manifest.verification.timeout_sec
            return Verdict(reward=0.0, method="script", detail=f"the script took longer than {limit} seconds")
        folder = _reward_folder(package)
        if folder is not None and done.signal is not None:
            # Whatever killed it could have written a reward before.
            detail = f"the script was ended by signal {done.signal}"
            return Verdict(reward=None, method="script", detail=detail)
        if folder is None:
            right = done.code == 0
            return Verdict(
                reward=1.0 if right else 0.0,
                method="script",
                detail=f"the script ended with exit code {done.code}",
            )
        return await rewarded(sandbox, folder)


@dataclass(frozen=True, slots=True)
class _Place:
    """What the place of commands is made of, without what the agent made of it."""

    image: Image
    env: Mapping[str, str]
    folder: str

    @classmethod
    def of(cls, materials: Materials, options: EnvironmentOptions) -> "_Place":
        main = materials.blueprint.main
        if main is None:
            return cls(Image(base=options.base, config=ImageConfig(workdir="/root")), {}, "/root")
        plan, image = materials.blueprint.services[main], materials.images[main]
        env = {**image.config.env, **plan.environment}
        return cls(image, env, plan.working_dir or image.config.workdir or "/")


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
        self.done: Verdict | None = None
        self.error: RunyardError | None = None

    async def __call__(self, context: RunContext) -> Outcome:
        return await until_cancelled(context, self._judge(context))

    async def _judge(self, context: RunContext) -> Outcome:
        if self._judged.method == "flag":
            verdict = await self._verifier.judge_flag(self._resident, self._judged)
        else:
            verdict = await self._verifier.judge_script(self._resident, self._package, self._outputs, context)
        self.done = verdict
        status = Status.FAILED if verdict.reward is None else Status.SUCCEEDED
        result = {"reward": verdict.reward, "passed": verdict.passed, "detail": verdict.detail}
        return Outcome(status=status, reason=verdict.detail, result=result)


def _execution(
    caller: Principal, environment: Environment, method: str, request_id: str, door: str
) -> NewExecution:
    return NewExecution(
        account_id=environment.account_id,
        project_id=environment.project_id,
        project_path=environment.project_path,
        kind=Kind.VERIFY,
        name=environment.task_ref,
        actor=caller.actor,
        door=door,
        place=place_of(environment),
        command=f"verify by {method}",
        request_id=request_id,
    )


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
