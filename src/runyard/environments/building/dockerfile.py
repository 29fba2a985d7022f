"""Reads Dockerfiles, as far as tasks commonly use them. Owns the grammar; what is beyond it is an error with its line.

FROM, RUN, COPY, WORKDIR, ENV, ARG, USER, EXPOSE, CMD, ENTRYPOINT, HEALTHCHECK, VOLUME (which makes a folder); LABEL,
MAINTAINER and STOPSIGNAL are read and mean nothing here. One stage only.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from platform import machine
from typing import Final

from runyard.environments.building.model import Health
from runyard.environments.building.words import duration, substituted
from runyard.environments.building.words import words as split_words
from runyard.environments.errors import BadDockerfile

MAX_BYTES: Final = 1 << 20
_DIRECTIVE: Final = re.compile(r"#\s*(syntax|escape|check)\s*=\s*(.*)", re.IGNORECASE)
_IGNORED: Final = frozenset({"LABEL", "MAINTAINER", "STOPSIGNAL"})
_MACHINES: Final = {"x86_64": ("amd64", "x86_64"), "aarch64": ("arm64", "arm64/v8", "aarch64")}
"""What platforms call a machine."""
_NAME: Final = re.compile(r"[A-Za-z_]\w*\Z")


@dataclass(frozen=True, slots=True)
class RunStep:
    """Run a command and keep what it writes."""

    line: int
    argv: Sequence[str]
    env: Mapping[str, str]
    workdir: str
    user: str


@dataclass(frozen=True, slots=True)
class CopyStep:
    """Copy files of the context."""

    line: int
    sources: Sequence[str]
    target: str
    """Absolute; with a final slash a folder to put them into."""
    mode: int | None
    owner: str


@dataclass(frozen=True, slots=True)
class FolderStep:
    """Make sure that a folder is there."""

    line: int
    path: str


Step = RunStep | CopyStep | FolderStep


@dataclass(slots=True, kw_only=True)
class Recipe:
    """A Dockerfile, read."""

    reference: str
    steps: list[Step] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    entrypoint: Sequence[str] | None = None
    command: Sequence[str] | None = None
    ports: list[int] = field(default_factory=list)
    health: Health | None = None
    no_health: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    word: str
    rest: str


class Reader:
    """Reads one Dockerfile."""

    def __init__(self, text: str, args: Mapping[str, str], name: str = "Dockerfile") -> None:
        """Take the text and the build arguments that the caller gives."""
        self._name = name
        self._given = args
        self._args: dict[str, str] = {}
        self._before: dict[str, str] = {}
        """Arguments from before FROM: for FROM, and for whoever names them again after it."""
        self._recipe: Recipe | None = None
        self._lines = self._logical(text)
        self._workdir = "/"

    def base(self) -> str:
        """Return the image that it starts from, before anything else is looked at. Raises BadDockerfile."""
        for line in self._lines:
            if line.word == "FROM":
                return self._from(line).reference
            if line.word != "ARG":
                raise self._error(line, "FROM must come first")
            self._arg(line)
        raise BadDockerfile(f"{self._name}: there is no FROM")

    def read(self, base_env: Mapping[str, str], base_workdir: str, base_user: str) -> Recipe:
        """Return the whole recipe over a base. Raises BadDockerfile."""
        self._args, self._before, self._recipe, self._workdir = {}, {}, None, base_workdir or "/"
        for line in self._lines:
            if line.word == "FROM":
                if self._recipe is not None:
                    raise self._error(line, "several stages are not supported")
                self._recipe = self._from(line)
                self._recipe.env, self._recipe.user = dict(base_env), base_user
                self._before, self._args = self._args, {}
            elif line.word == "ARG":
                self._arg(line)
            elif self._recipe is None:
                raise self._error(line, "FROM must come first")
            else:
                self._instruction(line, self._recipe)
        if self._recipe is None:
            raise BadDockerfile(f"{self._name}: there is no FROM")
        self._recipe.workdir = self._workdir
        return self._recipe

    def _instruction(self, line: _Line, recipe: Recipe) -> None:
        known = {
            "RUN": self._run,
            "COPY": self._copy,
            "WORKDIR": self._set_workdir,
            "ENV": self._env,
            "USER": self._user,
            "EXPOSE": self._expose,
            "CMD": self._cmd,
            "ENTRYPOINT": self._entrypoint,
            "HEALTHCHECK": self._healthcheck,
            "VOLUME": self._volume,
        }
        if line.word in _IGNORED:
            return
        if line.word not in known:
            raise self._error(line, f"{line.word} is not supported")
        known[line.word](line, recipe)

    # --- instructions ----------------------------------------------------------------------------------------------

    def _from(self, line: _Line) -> Recipe:
        parts = self._substitute(line, line.rest).split()
        if parts and parts[0].startswith("--platform="):
            wanted = parts.pop(0).partition("=")[2]
            # Empty where it is a variable of a builder for several platforms.
            if wanted and wanted not in [f"linux/{name}" for name in _MACHINES.get(machine(), ())]:
                raise self._error(line, f"the flag --platform asks for another machine: {wanted}")
        if parts and parts[0].startswith("--"):
            raise self._error(line, f"the flag {parts[0].split('=')[0]} is not supported")
        if len(parts) not in (1, 3) or (len(parts) == 3 and parts[1].upper() != "AS"):
            raise self._error(line, "FROM takes an image, and perhaps AS with a name")
        return Recipe(reference=parts[0])

    def _arg(self, line: _Line) -> None:
        for word in self._words(line, line.rest):
            name, given, default = word.partition("=")
            if not _NAME.match(name):
                raise self._error(line, f"{name!r} is no name of an argument")
            if name in self._given:
                self._args[name] = self._given[name]
            elif given:
                self._args[name] = self._substitute(line, default)
            elif name in self._before:
                self._args[name] = self._before[name]

    def _run(self, line: _Line, recipe: Recipe) -> None:
        self._no_flags(line)
        if "<<" in line.rest and re.search(r"<<-?\s*['\"]?[A-Za-z_]", line.rest):
            raise self._error(line, "here-documents are not supported")
        argv = self._exec_form(line, line.rest) or ("/bin/sh", "-c", line.rest)
        env = {**self._args, **recipe.env}
        recipe.steps.append(RunStep(line.number, argv, env, self._workdir, recipe.user))

    def _copy(self, line: _Line, recipe: Recipe) -> None:
        rest, mode, owner = line.rest, None, ""
        while rest.startswith("--"):
            flag, _, rest = rest.partition(" ")
            rest = rest.lstrip()
            name, _, value = flag.partition("=")
            if name == "--chmod" and re.fullmatch(r"[0-7]{3,4}", value):
                mode = int(value, 8)
            elif name == "--chown" and value:
                owner = self._substitute(line, value)
            elif flag not in ("--link", "--link=true", "--link=false"):  # how a layer is stored
                raise self._error(line, f"the flag {name} is not supported")
        if rest.startswith("<<"):
            raise self._error(line, "here-documents are not supported")
        parts = self._exec_form(line, rest) or self._words(line, rest)
        *sources, target = [self._substitute(line, part) for part in parts]
        if not sources:
            raise self._error(line, "COPY takes files and where they go")
        folder = target.endswith("/") or target in (".", "..") or len(sources) > 1
        path = self._path(target) + ("/" if folder else "")
        recipe.steps.append(CopyStep(line.number, sources, path.replace("//", "/"), mode, owner))

    def _set_workdir(self, line: _Line, recipe: Recipe) -> None:
        self._workdir = self._path(self._substitute(line, line.rest))
        recipe.steps.append(FolderStep(line.number, self._workdir))

    def _volume(self, line: _Line, recipe: Recipe) -> None:
        for path in self._exec_form(line, line.rest) or self._words(line, line.rest):
            recipe.steps.append(FolderStep(line.number, self._path(self._substitute(line, path))))

    def _env(self, line: _Line, recipe: Recipe) -> None:
        first = line.rest.split(None, 1)[0]
        if "=" not in first:
            name, _, value = line.rest.partition(" ")
            pairs = [(name, value.strip())]
        else:
            pairs = [
                (name, value) for name, _, value in (w.partition("=") for w in self._words(line, line.rest))
            ]
        before = {**self._args, **recipe.env}
        for name, value in pairs:
            if not name or not re.fullmatch(r"[A-Za-z_][\w.-]*", name):
                raise self._error(line, f"{name!r} is no name of a variable")
            recipe.env[name] = self._substitute(line, value, before)

    def _user(self, line: _Line, recipe: Recipe) -> None:
        recipe.user = self._substitute(line, line.rest).strip()

    def _expose(self, line: _Line, recipe: Recipe) -> None:
        for word in self._substitute(line, line.rest).split():
            port, _, kind = word.partition("/")
            if not port.isdecimal() or not 0 < int(port) < 65_536 or kind not in ("", "tcp", "udp"):
                raise self._error(line, f"{word!r} is no port")
            recipe.ports.append(int(port))

    def _cmd(self, line: _Line, recipe: Recipe) -> None:
        recipe.command = self._exec_form(line, line.rest) or ("/bin/sh", "-c", line.rest)

    def _entrypoint(self, line: _Line, recipe: Recipe) -> None:
        # A command of the base is not for this program; one of this file is, wherever it stands.
        recipe.entrypoint = self._exec_form(line, line.rest) or ("/bin/sh", "-c", line.rest)

    def _healthcheck(self, line: _Line, recipe: Recipe) -> None:
        rest, values = line.rest, {}
        while rest.startswith("--"):
            flag, _, rest = rest.partition(" ")
            rest = rest.lstrip()
            name, _, value = flag.partition("=")
            values[name] = value
        values.pop("--start-interval", None)  # first checks are soon here in any case
        kind, _, test = rest.partition(" ")
        recipe.no_health = kind.upper() == "NONE"
        if recipe.no_health:
            recipe.health = None
            return
        if kind.upper() != "CMD" or not test.strip():
            raise self._error(line, "HEALTHCHECK takes CMD with a command, or NONE")
        try:
            recipe.health = Health(
                argv=self._exec_form(line, test.strip()) or ("/bin/sh", "-c", test.strip()),
                interval_secs=duration(values.pop("--interval", "30s")),
                timeout_secs=duration(values.pop("--timeout", "30s")),
                retries=int(values.pop("--retries", "3")),
                start_period_secs=duration(values.pop("--start-period", "0s")),
            )
        except ValueError as error:
            raise self._error(line, str(error)) from None
        if values:
            raise self._error(line, f"the flag {next(iter(values))} is not supported")

    # --- words -----------------------------------------------------------------------------------------------------

    def _path(self, text: str) -> str:
        path = text if text.startswith("/") else f"{self._workdir}/{text}"
        parts: list[str] = []
        for part in path.split("/"):
            if part == "..":
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        return "/" + "/".join(parts)

    def _substitute(self, line: _Line, text: str, variables: Mapping[str, str] | None = None) -> str:
        if variables is None:
            variables = {**self._args, **(self._recipe.env if self._recipe is not None else {})}
        try:
            return substituted(text.replace("\\$", "$$"), variables)
        except ValueError as error:
            raise self._error(line, str(error)) from None

    def _words(self, line: _Line, text: str) -> list[str]:
        try:
            found = split_words(text)
        except ValueError as error:
            raise self._error(line, str(error)) from None
        if not found:
            raise self._error(line, f"{line.word} needs something")
        return found

    def _exec_form(self, line: _Line, text: str) -> Sequence[str] | None:
        if not text.startswith("["):
            return None
        try:
            found = json.loads(text)
        except ValueError:
            return None  # then it is for the shell, as everywhere
        if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
            raise self._error(line, "the list must hold texts")
        return tuple(found)

    def _no_flags(self, line: _Line) -> None:
        if line.rest.startswith("--"):
            raise self._error(line, f"the flag {line.rest.split('=')[0].split()[0]} is not supported")

    def _error(self, line: _Line, what: str) -> BadDockerfile:
        return BadDockerfile(f"{self._name} line {line.number}: {what}")

    def _logical(self, text: str) -> list[_Line]:
        """Join continued lines, drop comments. Raises BadDockerfile."""
        if len(text) > MAX_BYTES:
            raise BadDockerfile(f"{self._name} is larger than {MAX_BYTES} bytes")
        found: list[_Line] = []
        parts: list[str] = []
        start = 0
        for number, raw in enumerate(text.splitlines(), 1):
            stripped = raw.strip()
            if stripped.startswith("#") or (not stripped and parts):
                directive = _DIRECTIVE.match(stripped) if not found and not parts else None
                if directive and directive[1].lower() == "escape" and directive[2].strip() != "\\":
                    raise BadDockerfile(f"{self._name} line {number}: only the escape \\ is supported")
                continue
            if not stripped:
                continue
            start = start if parts else number
            if raw.rstrip().endswith("\\"):
                parts.append(raw.rstrip()[:-1])
                continue
            parts.append(raw)
            found.append(self._split(start, "".join(parts).strip()))
            parts = []
        if parts:
            found.append(self._split(start, "".join(parts).strip()))
        return found

    def _split(self, number: int, text: str) -> _Line:
        word, _, rest = text.partition(" ") if " " in text else text.partition("\t")
        line = _Line(number, word.upper(), rest.strip())
        if not line.rest:
            raise self._error(line, f"{line.word} needs something")
        return line
