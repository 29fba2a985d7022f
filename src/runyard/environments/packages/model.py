"""What a task package is. Owns its types, references, versions and the form of digests.

Pure types: nothing here reads a file or a database.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from runyard.environments.packages.errors import TaskNotFound
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import AccountId, TaskId

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}\Z")
VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\Z")
LATEST: Final = "latest"
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """MAJOR.MINOR.PATCH, ordered as numbers."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the version that a text spells. Raises InvalidArgument."""
        found = VERSION.match(text)
        if found is None:
            raise InvalidArgument(f"a version is MAJOR.MINOR.PATCH, not {text[:64]!r}")
        return cls(*(int(part) for part in found.groups()))

    def __str__(self) -> str:
        """Write it as it was spelt."""
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True)
class TaskRef:
    """`[org/]name[@version]`; the version None means the latest one."""

    org: str | None
    name: str
    version: Version | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference that a text spells. Raises TaskNotFound: what cannot be a task is none."""
        place, marked, version = text.partition("@")
        org, slash, name = place.rpartition("/")
        fits = NAME.match(name) and (not slash or _SLUG.match(org)) and (not marked or version)
        if not fits or (version and version != LATEST and not VERSION.match(version)):
            raise TaskNotFound(f"Task not found: {text[:200]}")
        wanted = Version.parse(version) if version and version != LATEST else None
        return cls(org if slash else None, name, wanted)


def digest_hex(text: str) -> str:
    """Return the hexadecimal part of `sha256:<64 hex>`. Raises InvalidArgument."""
    found = _DIGEST.match(text)
    if found is None:
        raise InvalidArgument("a digest is sha256: and 64 hexadecimal digits in lower case")
    return found.group(1)


@dataclass(frozen=True, slots=True)
class ScriptUse:
    """A script of the package and how long it may run."""

    script: str
    """Path within the package."""
    timeout_sec: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How the outcome of a task is judged."""

    method: str
    """`flag`, `script`, `outcome_judge`, `script_and_judge` or `flag_and_judge`."""
    script: str | None = None
    where: str = "environment"
    """Where the script runs: `environment` or `agent`."""
    timeout_sec: int = 30
    path: str | None = None
    """Of the file with the flag."""
    value: str | None = None
    hash: tuple[str, str] | None = None
    """Algorithm and hexadecimal digits, when the flag itself is not told."""
    judge: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ModelRole:
    """A model that the task uses in a role; the environment gets it as `MODEL_<ROLE>`."""

    model: str
    overridable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskManifest:
    """What `task.yaml` says, checked."""

    name: str
    version: Version
    instruction: str
    """A template with `{{name}}` placeholders, as written."""
    verification: Verification
    ports: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The ports that are exposed, by compose service."""
    provision: ScriptUse | None = None
    teardown: ScriptUse | None = None
    solution: str | None = None
    models: Mapping[str, ModelRole] = field(default_factory=dict)
    """By role."""
    model_ids: Sequence[str] = ()
    """Models without a role, of the older form of the field."""
    egress: Sequence[str] | None = None
    """Where the environment may connect to; empty means nowhere, None means that the task does not care."""
    description: str | None = None
    tags: Sequence[str] = ()
    difficulty: str | None = None
    source: str | None = None
    author: str | None = None
    license: str | None = None
    repository: str | None = None
    max_agent_timeout_sec: int | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    """The whole document, unknown keys included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTask:
    """The content of a version as it was at one time: what an environment goes on with when its package is pushed again
    or removed.
    """

    ref: str
    layer_digest: str
    manifest: TaskManifest
    root: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPackage:
    """One version of a task: what it says, who owns it, and where its files are."""

    id: TaskId
    account_id: AccountId
    org: str
    """Slug of the account that owns it."""
    name: str
    version: str
    public: bool
    manifest: TaskManifest
    config_digest: str
    """64 hexadecimal digits, as all digests here."""
    layer_digest: str
    manifest_digest: str
    size_bytes: int
    """Of the packed layer."""
    readme: str | None
    created_at: datetime
    created_by: str
    root: Path
    """Folder with the files, unpacked and read-only, shared by all packages with the same layer: never write there.
    It holds regular files and folders only.
    """

    @property
    def ref(self) -> str:
        """Write the full reference."""
        return f"{self.org}/{self.name}@{self.version}"

    @property
    def kept(self) -> KeptTask:
        """Return the content alone."""
        return KeptTask(ref=self.ref, layer_digest=self.layer_digest, manifest=self.manifest, root=self.root)


SORTS: Final = ("name", "difficulty", "source", "author", "created_at", "file_size")
"""What a listing can be sorted by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What a listing shows. Values of one field are alternatives; fields narrow each other."""

    difficulties: Sequence[str] = ()
    tags: Sequence[str] = ()
    authors: Sequence[str] = ()
    sources: Sequence[str] = ()
    search: str | None = None
    include_public: bool = False
    """Public tasks of other accounts too."""
    sort_by: str = "created_at"
    descending: bool = True
    page: int = 1
    limit: int = 50
