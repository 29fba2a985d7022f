"""Virtual environments of packs: what a `requirements.txt` asks for, installed once and copied into every run.

Owns their making and their names. One is made inside a sandbox of its own, with what the pack's runs may reach and use,
and kept as a checkpoint under a hash of what went into it; a run starts from the checkpoint and cannot change it.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from runyard.actions.errors import InvalidMetadata
from runyard.actions.runners.boxes import Boxes, Places, Program, put_folders, unpack_and
from runyard.actions.runners.job import ProcessEnd
from runyard.kernel.errors import FailedPrecondition
from runyard.kernel.ids import AccountId

REQUIREMENTS: Final = "requirements.txt"
FOLDER: Final = "virtualenv"
BUILD_SECONDS: Final = 900.0
AT_ONCE: Final = 2
"""How many are made at one time: a server may register many packs at once."""
_LARGEST: Final = 1 << 20
_SHOWN: Final = 2000
"""Characters of what the installer printed last that an error repeats."""
_log = structlog.get_logger(__name__)


class VirtualenvMissing(FailedPrecondition):
    """The virtual environment of the pack is missing."""

    code = "virtualenv_missing"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The virtual environment that a pack needs now."""

    pack: str
    folder: Path
    prefix: str
    """How the checkpoints of the pack begin."""
    checkpoint: str
    boxes: Boxes


class Virtualenvs:
    """The virtual environments of all packs."""

    def __init__(self, places: Places) -> None:
        """Make them where the runs of their packs happen."""
        self._places = places
        self._building: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """Give up what is being made."""
        tasks = list(self._building.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wanted(self, account: AccountId, pack: str, folder: Path) -> Wanted | None:
        """Return what a pack needs, None when it asks for nothing. Raises InvalidMetadata. Reads a file."""
        path = folder / REQUIREMENTS
        if not path.is_file():
            return None
        if path.stat().st_size > _LARGEST or not path.resolve().is_relative_to(folder.resolve()):
            raise InvalidMetadata(
                f"{REQUIREMENTS} is longer than {_LARGEST} bytes or lies outside of the pack"
            )
        content = path.read_bytes()
        if not any(line.strip() and not line.strip().startswith(b"#") for line in content.splitlines()):
            return None
        boxes = self._places.of_files(pack)
        owner = hashlib.sha256(f"{account}:{pack}".encode()).hexdigest()[:16]
        made_of = f"{boxes.engine.name}:{boxes.options.base}:".encode() + content
        prefix = f"venv-{owner}-"
        return Wanted(pack, folder, prefix, prefix + hashlib.sha256(made_of).hexdigest()[:32], boxes)

    def exists(self, wanted: Wanted) -> bool:
        """Tell whether it has been made."""
        return wanted.checkpoint in wanted.boxes.engine.captured(wanted.checkpoint)

    def begin(self, wanted: Wanted) -> None:
        """Make it in the background unless it is there; a failure is logged, and met again by the first run."""
        if not self.exists(wanted):
            self._task(wanted)

    async def ready(self, wanted: Wanted) -> str:
        """Return the checkpoint to start from, made now where it is missing. Raises VirtualenvMissing."""
        if not self.exists(wanted):
            await asyncio.shield(self._task(wanted))
        return wanted.checkpoint

    async def rebuild(self, wanted: Wanted) -> None:
        """Make it again, whatever there is. Raises VirtualenvMissing."""
        await asyncio.shield(self._task(wanted))

    async def remove(self, account: AccountId, pack: str) -> None:
        """Delete all virtual environments of a pack."""
        owner = hashlib.sha256(f"{account}:{pack}".encode()).hexdigest()[:16]
        engine = self._places.of_files(pack).engine
        for name in engine.captured(f"venv-{owner}-"):
            await engine.delete_checkpoint(name)

    def _task(self, wanted: Wanted) -> "asyncio.Task[None]":
        """Return the one task that makes it: several runs may need it at the same moment."""
        task = self._building.get(wanted.checkpoint)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._build(wanted))
            self._building[wanted.checkpoint] = task
            task.add_done_callback(lambda done: self._built(wanted, done))
        return task

    def _built(self, wanted: Wanted, task: "asyncio.Task[None]") -> None:
        self._building.pop(wanted.checkpoint, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("actions.virtualenv_not_made", pack=wanted.pack, error=str(error)[-_SHOWN:])

    async def _build(self, wanted: Wanted) -> None:
        boxes = wanted.boxes
        async with self._turn, boxes.lasting_box() as box:
            await put_folders(box, {"pack": wanted.folder})
            files = box.files
            python = f"{files}/{FOLDER}/bin/python"
            steps = (
                f"cd {files}/pack",
                f"python3 -m venv {files}/{FOLDER}",
                f"{python} -m pip install --disable-pip-version-check --no-input --no-cache-dir -r {REQUIREMENTS}",
                f"cd / && rm -rf {files}/pack {files}/pack.tar",
            )
            program = Program(
                argv=("/bin/sh", "-c", unpack_and(files, " && ".join(steps))),
                env={"PIP_PROGRESS_BAR": "off"},
                timeout_secs=BUILD_SECONDS,
            )
            ended = await boxes.run(box, program, None)
        try:
            if ended.code != 0:
                raise VirtualenvMissing(_reason(wanted.pack, ended))
            await boxes.engine.capture(box.sandbox.id, wanted.checkpoint)
        finally:
            await boxes.engine.delete_layer(box.sandbox.id)
        for name in boxes.engine.captured(wanted.prefix):
            if name != wanted.checkpoint:
                await boxes.engine.delete_checkpoint(name)
        _log.info("actions.virtualenv_made", pack=wanted.pack)


def missing(pack: str) -> VirtualenvMissing:
    """Return the error of a run whose virtual environment went away between two looks."""
    return VirtualenvMissing(f'The virtual environment of the pack "{pack}" is missing. {_advice(pack)}')


def _reason(pack: str, ended: ProcessEnd) -> str:
    printed = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip()[-_SHOWN:]
    if ended.timed_out:
        printed = f"it took more than {BUILD_SECONDS:g} seconds"
    return f'The virtual environment of the pack "{pack}" is missing and could not be made: {printed} {_advice(pack)}'


def _advice(pack: str) -> str:
    return f"Make it with: st2 run packs.setup_virtualenv packs={pack}"
