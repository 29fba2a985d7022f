"""Files of a package on their way into a sandbox, and the scripts among them. Owns where commands find them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from runyard.environments.building.context import Entry

TASK_FOLDER: Final = "/home/user/task"
"""Where commands find the files of the task."""


def script_argv(root: Path, script: str) -> Sequence[str]:
    """Return how a script of the package is run: by its own first line, else by bash."""
    with (root / script).open("rb") as file:
        own = file.read(2) == b"#!"
    path = f"{TASK_FOLDER}/{script}"
    return (path,) if own else ("/bin/bash", path)


def package_files(root: Path, hidden: Sequence[Path], target_folder: str = TASK_FOLDER) -> Iterator[Entry]:
    """Yield the files below a folder of a package but the hidden ones; scripts can be executed."""
    covered = {path.resolve() for path in hidden}
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if (here / name).resolve() not in covered)
        for name in sorted(files):
            path = here / name
            if path.resolve() in covered or path.is_symlink():
                continue
            with path.open("rb") as file:
                executable = file.read(2) == b"#!" or bool(path.stat().st_mode & 0o111)
            target = f"{target_folder}/{path.relative_to(root)}"
            yield Entry(path, target, False, 0o755 if executable else 0o644)


def carried_files(source: Path, target: str) -> Iterator[Entry]:
    """Yield a file of a package, or a folder with all that is below it, under a place of a sandbox."""
    if source.is_file():
        yield Entry(source, target, False, 0o755 if source.stat().st_mode & 0o111 else 0o644)
        return
    yield Entry(source, target, True, 0o755)
    for path in sorted(source.rglob("*")):
        if not path.is_symlink():
            mode = 0o755 if path.is_dir() or path.stat().st_mode & 0o111 else 0o644
            yield Entry(path, f"{target.rstrip('/')}/{path.relative_to(source)}", path.is_dir(), mode)
