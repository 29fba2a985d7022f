"""Compiling `runyard-agent`. Owns the compiler's choice and flags; used when a wheel is built and, where a package
carries only the sources, at the first start. Imports nothing of Runyard, because the wheel's build has no Runyard yet.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PROGRAM = "runyard-agent"
# musl before glibc: its start-up and pages are a tenth, and every sandbox holds a copy.
COMPILERS = ("musl-gcc", "cc", "gcc", "clang")
FLAGS = ("-std=c11", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-fstack-protector-strong", "-s")


class CannotCompile(Exception):
    """No compiler is there, or none can make a static program."""


def sources() -> list[Path]:
    """Return the C files in a fixed order."""
    return sorted(FOLDER.glob("*.c"))


def fingerprint() -> str:
    """Return a short hash of all that decides what the program does."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted(FOLDER.glob("*.[ch]")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compile_agent(target: Path) -> None:
    """Compile the program to `target`, complete or not at all; takes about a second. Raises CannotCompile."""
    if not sys.platform.startswith("linux"):
        raise CannotCompile("the agent exists for Linux only")
    problems = []
    for compiler in _compilers():
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / PROGRAM
            command = [compiler, *FLAGS, "-o", os.fspath(made), *map(os.fspath, sources())]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                made.chmod(0o755)
                made.replace(target)
                return
            problems.append(f"{compiler}: {done.stderr.strip()[-500:]}")
    raise CannotCompile("; ".join(problems) or "no C compiler found")


def _compilers() -> Iterator[str]:
    for name in (os.environ.get("CC", ""), *COMPILERS):
        if name and shutil.which(name):
            yield name
