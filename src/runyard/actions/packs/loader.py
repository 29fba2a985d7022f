"""From folder to pack. Owns which files of a pack mean what; stores nothing.

One bad file costs that file: it becomes a problem with file and line, and the rest is loaded. Only a pack whose
`pack.yaml` cannot be used is refused as a whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from runyard.actions.errors import InvalidMetadata
from runyard.actions.model import (
    Action,
    ConfigSchema,
    Pack,
    RunnerType,
    make_action,
    make_config_schema,
    make_pack,
)
from runyard.actions.packs.folder import PackFolder, check_relative, entry_point_path
from runyard.actions.parameters.validate import Parameters
from runyard.actions.runnertypes import runner_named
from runyard.actions.values import Json

PACK_FILE: Final = "pack.yaml"
CONFIG_SCHEMA_FILE: Final = "config.schema.yaml"
KEPT_FOLDERS: Final = ("aliases", "policies", "rules", "sensors", "triggers")
"""Folders whose files are read and kept for the domains that use them."""
NEEDS_FILE: Final = frozenset(
    [
        "local-shell-script",
        "remote-shell-script",
        "python-script",
        "orquesta",
        "action-chain",
        "winrm-ps-script",
    ]
)
SYSTEM_FOLDER: Final = Path(__file__).parent / "system"
"""The packs that come with the product."""
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """Write it as editors understand it."""
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A metadata file of another domain, as it was read."""

    file: str
    value: Json


@dataclass(frozen=True, slots=True)
class LoadedPack:
    """All that a folder gave."""

    pack: Pack
    actions: tuple[Action, ...]
    config_schema: ConfigSchema | None
    kept: Mapping[str, tuple[Kept, ...]]
    """The files of `KEPT_FOLDERS` by folder."""
    problems: tuple[Problem, ...]


def find_packs(*roots: Path) -> list[Path]:
    """List the folders below the roots that hold a pack, by name; of equal names the last root's is taken."""
    found: dict[str, Path] = {}
    for root in roots:
        if root.is_dir():
            for folder in root.iterdir():
                if (folder / PACK_FILE).is_file():
                    found[folder.name] = folder
    return [found[name] for name in sorted(found)]


def system_packs() -> list[Path]:
    """List the folders of the packs that come with the product."""
    return find_packs(SYSTEM_FOLDER)


def load_pack(folder: Path) -> LoadedPack:
    """Load a pack. Raises InvalidMetadata when the folder or its `pack.yaml` cannot be used."""
    return _Loading(PackFolder(folder)).load()


def check_action(action: Action) -> Parameters:
    """Check an action against its runner and return its prepared parameters. Raises InvalidMetadata."""
    return Parameters(runner_of(action), action)


def runner_of(action: Action) -> RunnerType:
    """Return the runner type of an action. Raises InvalidMetadata when there is none by that name."""
    runner = runner_named(action.runner_type)
    if runner is None:
        raise InvalidMetadata(
            f"RunnerType {action.runner_type} is not found. Known runner types are shown by `runner list`."
        )
    return runner


class _Loading:
    """One load: collects problems on the way."""

    def __init__(self, folder: PackFolder) -> None:
        self._folder = folder
        self._problems: list[Problem] = []

    def load(self) -> LoadedPack:
        """Read everything."""
        pack = self._pack()
        actions = self._actions(pack)
        config_schema = self._config_schema(pack)
        kept = {name: tuple(self._kept(name)) for name in KEPT_FOLDERS}
        return LoadedPack(pack, actions, config_schema, kept, tuple(self._problems))

    def _pack(self) -> Pack:
        path, files = str(self._folder.root), self._folder.all_files()
        return self._read(PACK_FILE, lambda value: make_pack(value, path=path, files=files))

    def _actions(self, pack: Pack) -> tuple[Action, ...]:
        actions: dict[str, Action] = {}
        for file in self._files("actions"):
            action = self._try(file, partial(self._action, pack, file))
            if action is None:
                continue
            if action.name in actions:
                other = actions[action.name].metadata_file
                self._problems.append(Problem(file, 0, f"the action {action.name!r} is in {other} already"))
                continue
            actions[action.name] = action
            self._check_entry_point(action)
        return tuple(actions.values())

    def _action(self, pack: Pack, file: str, value: Json) -> Action:
        action = make_action(value, pack=pack.ref, metadata_file=file)
        if action.pack != pack.ref:
            raise InvalidMetadata(
                f'Model is in pack "{pack.ref}" but field "pack" is different: {action.pack}', path=("pack",)
            )
        check_action(action)
        if action.entry_point:
            check_relative(action.entry_point)
        return action

    def _check_entry_point(self, action: Action) -> None:
        """Tell of a file that is missing; the action stays, since the file may come later."""
        if runner_of(action).name not in NEEDS_FILE:
            return
        try:
            entry_point_path(self._folder.root, action.entry_point)
        except InvalidMetadata as error:
            self._problems.append(Problem(action.metadata_file, 0, error.message))

    def _config_schema(self, pack: Pack) -> ConfigSchema | None:
        if not self._folder.has(CONFIG_SCHEMA_FILE):
            return None
        return self._try(CONFIG_SCHEMA_FILE, lambda value: make_config_schema(value, pack=pack.ref))

    def _kept(self, folder: str) -> list[Kept]:
        found = [self._try(file, partial(Kept, file)) for file in self._files(folder)]
        return [one for one in found if one is not None]

    def _files(self, folder: str) -> list[str]:
        try:
            return self._folder.metadata_files(folder)
        except InvalidMetadata as error:
            self._problems.append(Problem(error.file, error.line, error.message))
            return []

    def _read(self, file: str, make: Callable[[Json], Made]) -> Made:
        document = self._folder.document(file)
        try:
            return make(document.value)
        except InvalidMetadata as error:
            raise document.error(error.message, error.path) from None

    def _try(self, file: str, make: Callable[[Json], Made]) -> Made | None:
        try:
            return self._read(file, make)
        except InvalidMetadata as error:
            self._problems.append(Problem(error.file or file, error.line, error.message))
            return None
