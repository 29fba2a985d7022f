"""Packs, runner types, actions and configuration schemas. Owns their frozen types and how metadata becomes them.

No I/O. Ids and owners are the store's; here a thing is what its metadata says. Errors are InvalidMetadata with the texts
that clients know.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from runyard.actions.dialect import checker
from runyard.actions.errors import InvalidMetadata
from runyard.actions.schemas import ACTION, CONFIG_SCHEMA, PACK
from runyard.actions.values import Json, JsonObject

DEFAULT_PACK: Final = "default"
SYSTEM_PACKS: Final = frozenset({"chatops", "core", "default", "linux", "packs"})
"""The packs that come with the product."""
READ_ONLY_PACKS: Final = frozenset({"chatops", "core", "linux", "packs"})
"""Those whose resources cannot be changed through the API."""
READ_ONLY_TEXT: Final = "Resources belonging to system level packs can't be manipulated"
_PACK_REF: Final = re.compile(r"[a-z0-9_]+")
_PACK_NAME: Final = re.compile(r"[\w-]{1,256}")
_CHECK_ACTION: Final = checker(ACTION)
_CHECK_PACK: Final = checker(PACK)
_CHECK_CONFIG_SCHEMA: Final = checker(CONFIG_SCHEMA)


class Tag(msgspec.Struct, frozen=True):
    """A word of the user on a resource."""

    name: str
    value: str


class RunnerType(msgspec.Struct, frozen=True, kw_only=True):
    """How actions of a kind are run and which parameters that takes."""

    name: str
    description: str
    runner_package: str
    runner_module: str
    runner_parameters: JsonObject
    enabled: bool = True
    output_key: str | None = None
    """The member of the result that an action's output schema describes."""
    output_schema: JsonObject = {}

    @property
    def uid(self) -> str:
        """Return the name that permissions use."""
        return f"runner_type:{self.name}"

    @property
    def is_workflow(self) -> bool:
        """Tell whether its executions have children and can pause."""
        return self.name in ("action-chain", "orquesta")

    def as_dict(self) -> dict[str, Json]:
        """Return the runner as the API shows it, without an id."""
        shown: dict[str, Json] = {
            "uid": self.uid,
            "name": self.name,
            "description": self.description,
            "enabled": self.enabled,
            "runner_package": self.runner_package,
            "runner_module": self.runner_module,
            "runner_parameters": dict(self.runner_parameters),
            "output_schema": dict(self.output_schema),
        }
        if self.output_key is not None:
            shown["output_key"] = self.output_key
        return shown


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be run by its reference."""

    name: str
    pack: str
    runner_type: str
    description: str = ""
    enabled: bool = True
    entry_point: str = ""
    """A file below the pack's `actions` folder, empty when the runner needs none."""
    parameters: JsonObject = {}
    output_schema: JsonObject = {}
    tags: tuple[Tag, ...] = ()
    notify: JsonObject = {}
    metadata_file: str = ""

    @property
    def ref(self) -> str:
        """Return `pack.name`."""
        return f"{self.pack}.{self.name}"

    @property
    def uid(self) -> str:
        """Return the name that permissions use."""
        return f"action:{self.pack}:{self.name}"

    def as_dict(self) -> dict[str, Json]:
        """Return the action as the API shows it, without an id."""
        return {
            "ref": self.ref,
            "uid": self.uid,
            "name": self.name,
            "pack": self.pack,
            "description": self.description,
            "enabled": self.enabled,
            "entry_point": self.entry_point,
            "runner_type": self.runner_type,
            "parameters": dict(self.parameters),
            "output_schema": dict(self.output_schema),
            "tags": [{"name": tag.name, "value": tag.value} for tag in self.tags],
            "notify": dict(self.notify),
            "metadata_file": self.metadata_file,
        }


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of actions and more, with one name."""

    ref: str
    name: str
    version: str
    author: str
    description: str = ""
    keywords: tuple[str, ...] = ()
    email: str = ""
    contributors: tuple[str, ...] = ()
    stackstorm_version: str = ""
    python_versions: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    path: str = ""

    @property
    def uid(self) -> str:
        """Return the name that permissions use."""
        return f"pack:{self.ref}"

    @property
    def is_system(self) -> bool:
        """Tell whether the pack came with the product."""
        return self.ref in SYSTEM_PACKS

    def as_dict(self) -> dict[str, Json]:
        """Return the pack as the API shows it, without an id; lists may be empty."""
        shown: dict[str, Json] = {"uid": self.uid, **msgspec.structs.asdict(self)}
        lists = {name: list(value) for name, value in shown.items() if isinstance(value, tuple)}
        return {name: value for name, value in {**shown, **lists}.items() if value != ""}


class ConfigSchema(msgspec.Struct, frozen=True, kw_only=True):
    """Which values the configuration of a pack has."""

    pack: str
    attributes: JsonObject = {}

    def as_dict(self) -> dict[str, Json]:
        """Return the schema as the API shows it, without an id."""
        return {"pack": self.pack, "attributes": dict(self.attributes)}


def split_ref(ref: str) -> tuple[str, str] | None:
    """Return pack and name of a reference; None when it has no dot, or nothing on a side of the first one."""
    pack, _, name = ref.partition(".")
    return (pack, name) if pack and name else None


def pack_ref_of(name: str) -> str:
    """Return the reference of a pack that gives none: its name when that is fit. Raises InvalidMetadata."""
    if _PACK_REF.fullmatch(name) is None:
        raise InvalidMetadata(
            f'Pack name "{name}" contains invalid characters and "ref" attribute is not available. '
            'You either need to add "ref" attribute which contains only word characters to the pack metadata '
            "file or update name attribute to contain only word characters."
        )
    return name


def make_action(metadata: Json, *, pack: str = DEFAULT_PACK, metadata_file: str = "") -> Action:
    """Check an action's metadata and return the action; `pack` is used when the metadata names none.

    Unknown keys are errors. `id`, `ref` and `uid` are computed and ignored. Raises InvalidMetadata.
    """
    values = _checked(_CHECK_ACTION, metadata)
    owner = str(values.get("pack") or pack)
    if _PACK_NAME.fullmatch(owner) is None:
        raise InvalidMetadata(f"{owner!r} is not the name of a pack")
    position_errors(values.get("parameters") or {})
    return Action(
        name=values["name"],
        pack=owner,
        runner_type=values["runner_type"],
        description=values.get("description") or "",
        enabled=values.get("enabled", True),
        entry_point=values.get("entry_point") or "",
        parameters=values.get("parameters") or {},
        output_schema=values.get("output_schema") or {},
        tags=tuple(Tag(tag["name"], tag["value"]) for tag in values.get("tags") or ()),
        notify=values.get("notify") or {},
        metadata_file=metadata_file or values.get("metadata_file") or "",
    )


def position_errors(parameters: JsonObject) -> None:
    """Refuse two parameters at one position, of which only one could be passed. Raises InvalidMetadata."""
    taken: dict[float, str] = {}
    for name, schema in parameters.items():
        position = schema.get("position") if isinstance(schema, Mapping) else None
        if position is None:
            continue
        if position in taken:
            raise InvalidMetadata(
                f'Parameters "{taken[position]}" and "{name}" have the same position {position}.'
            )
        taken[position] = name


def make_pack(metadata: Json, *, path: str = "", files: Sequence[str] = ()) -> Pack:
    """Check the metadata of a pack and return the pack. Raises InvalidMetadata."""
    values = _checked(_CHECK_PACK, metadata)
    return Pack(
        ref=values.get("ref") or pack_ref_of(values["name"]),
        name=values["name"],
        version=values["version"],
        author=values["author"],
        description=values.get("description") or "",
        keywords=tuple(values.get("keywords") or ()),
        email=values.get("email") or "",
        contributors=tuple(values.get("contributors") or ()),
        stackstorm_version=values.get("stackstorm_version") or "",
        python_versions=tuple(values.get("python_versions") or ()),
        dependencies=tuple(values.get("dependencies") or ()),
        files=tuple(files),
        path=path,
    )


def make_config_schema(metadata: Json, *, pack: str) -> ConfigSchema:
    """Check the schema of a configuration and return it. Raises InvalidMetadata."""
    return ConfigSchema(pack=pack, attributes=_checked(_CHECK_CONFIG_SCHEMA, metadata or {}))


def _checked(check: checker, metadata: Json) -> dict[str, Json]:
    """Return metadata that fits its schema, without members that are null. Raises InvalidMetadata."""
    values = metadata
    if isinstance(metadata, Mapping):
        values = {name: value for name, value in metadata.items() if value is not None}
    try:
        error = check(values)
    except ValueError as broken:
        raise InvalidMetadata(str(broken)) from None
    if error is None:
        return dict(values)
    raise InvalidMetadata(error.message, path=[step for step in error.absolute_path if step != "required"])
