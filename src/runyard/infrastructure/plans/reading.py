"""Reading `show -json`. Owns the decoding, the refusals and what becomes of each entry; writes nothing.

The file is mapped, not loaded, and entries are decoded one at a time: memory does not follow the size of the plan.
What repeats the changes (`planned_values`, `prior_state`) is skipped.
"""

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from runyard.infrastructure.plans.attributes import attributes_of, region_of, tags_of
from runyard.infrastructure.plans.errors import PlanUnreadable
from runyard.infrastructure.plans.masking import Secrets, hide_marked, marked_texts, texts_below
from runyard.infrastructure.plans.model import Action, PlannedOutput, PlannedResource, action_of

MAX_BYTES: Final = 1 << 30
MAX_ADDRESS: Final = 2048
"""Characters of an address that are kept."""
_EMPTY: Final[Mapping[str, Any]] = {}


class _Value(msgspec.Struct):
    value: Any = None


class _Change(msgspec.Struct):
    actions: list[str]
    before: Any = None
    after: Any = None
    after_unknown: Any = None
    before_sensitive: Any = None
    after_sensitive: Any = None
    replace_paths: Any = None
    importing: Any = None


class _Resource(msgspec.Struct):
    address: str
    type: str
    name: str
    change: _Change
    mode: str = "managed"
    module_address: str = ""
    provider_name: str = ""
    index: Any = None
    deposed: str = ""
    previous_address: str = ""
    action_reason: str = ""


class _Provider(msgspec.Struct):
    full_name: str = ""
    module_address: str = ""
    expressions: dict[str, Any] = {}


class _Variable(msgspec.Struct):
    sensitive: bool = False


class _Module(msgspec.Struct):
    variables: dict[str, _Variable] = {}


class _Configuration(msgspec.Struct):
    provider_config: dict[str, _Provider] = {}
    root_module: _Module = msgspec.field(default_factory=_Module)


class _Document(msgspec.Struct):
    format_version: str
    terraform_version: str = ""
    variables: dict[str, _Value] = {}
    resource_changes: list[msgspec.Raw] = []
    resource_drift: list[msgspec.Raw] = []
    output_changes: dict[str, _Change] = {}
    configuration: _Configuration = msgspec.field(default_factory=_Configuration)
    errored: bool = False
    applyable: bool | None = None


_documents: Final = msgspec.json.Decoder(_Document)
_resources: Final = msgspec.json.Decoder(_Resource)


class PlanFile:
    """An opened plan: its small parts at once, its resources one by one."""

    def __init__(self, path: Path, secrets: Sequence[str] = ()) -> None:
        """Open and check a file; `secrets` are values to hide wherever they are. Raises PlanUnreadable."""
        document = _decoded(path)
        _check_format(document.format_version)
        self._document = document
        marked = document.configuration.root_module.variables
        sensitive = [
            text
            for name, given in document.variables.items()
            if name in marked and marked[name].sensitive
            for text in texts_below(given.value)
        ]
        self._secrets = Secrets([*secrets, *sensitive])
        self._regions = _regions(document.configuration)
        self.terraform_version = document.terraform_version
        self.format_version = document.format_version
        self.errored = document.errored
        self.applyable = document.applyable
        """What the tool itself says about whether there is anything to apply; None of releases before 1.9."""
        self.resource_count = len(document.resource_changes)

    def variables(self) -> dict[str, Any]:
        """Return the input variables by name, secrets hidden."""
        marked = self._document.configuration.root_module.variables
        return {
            name: hide_marked(given.value, name in marked and marked[name].sensitive)
            if name in marked and marked[name].sensitive
            else self._secrets.hide(given.value)
            for name, given in self._document.variables.items()
        }

    def outputs(self) -> list[PlannedOutput]:
        """Return the outputs as the plan would leave them, secrets hidden. Raises PlanUnreadable."""
        found = []
        for name, change in sorted(self._document.output_changes.items()):
            sensitive = change.after_sensitive is True or change.before_sensitive is True
            found.append(
                PlannedOutput(
                    name=name,
                    action=_action(change.actions, f"output_changes.{name}").value,
                    before=self._secrets.hide(hide_marked(change.before, change.before_sensitive)),
                    value=self._secrets.hide(hide_marked(change.after, change.after_sensitive)),
                    sensitive=sensitive,
                    unknown=change.after_unknown is True,
                )
            )
        return found

    def resources(self) -> Iterator[PlannedResource]:
        """Yield the planned changes in the order of the plan. Raises PlanUnreadable."""
        return self._read(self._document.resource_changes, "resource_changes")

    def drift(self) -> Iterator[PlannedResource]:
        """Yield what is not any more as the state has it. Raises PlanUnreadable."""
        return self._read(self._document.resource_drift, "resource_drift")

    def _read(self, entries: list[msgspec.Raw], member: str) -> Iterator[PlannedResource]:
        for position, raw in enumerate(entries):
            where = f"{member}[{position}]"
            try:
                entry = _resources.decode(raw)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise PlanUnreadable(f"the plan is not valid at {where}: {error}") from None
            yield self._resource(position, entry, where)

    def _resource(self, position: int, entry: _Resource, where: str) -> PlannedResource:
        change = entry.change
        action = _action(change.actions, where)
        secrets = self._secrets_of(change)
        hidden = secrets.hide(
            {
                "actions": change.actions,
                "before": hide_marked(change.before, change.before_sensitive),
                "after": hide_marked(change.after, change.after_sensitive),
                "after_unknown": change.after_unknown,
                "before_sensitive": change.before_sensitive,
                "after_sensitive": change.after_sensitive,
            }
        )
        if change.replace_paths is not None:
            hidden["replace_paths"] = secrets.hide(change.replace_paths)
        if change.importing is not None:
            hidden["importing"] = secrets.hide(change.importing)
        before = attributes_of(entry.type, hidden["before"])
        after = attributes_of(entry.type, hidden["after"])
        judged, unknown = (before, None) if action is Action.DELETE else (after, change.after_unknown)
        tags = tags_of(entry.type, judged, unknown)
        hide = secrets.hide_text
        document = {
            "address": hide(entry.address)[:MAX_ADDRESS],
            "mode": entry.mode,
            "type": entry.type,
            "name": entry.name,
            "provider_name": entry.provider_name,
            "change": hidden,
        }
        optional = {
            "module_address": hide(entry.module_address)[:MAX_ADDRESS],
            "deposed": entry.deposed,
            "previous_address": hide(entry.previous_address)[:MAX_ADDRESS],
            "action_reason": entry.action_reason,
        }
        document |= {name: value for name, value in optional.items() if value}
        if entry.index is not None:
            document["index"] = secrets.hide(entry.index)
        return PlannedResource(
            position=position,
            address=_kept(document["address"]),
            module=_kept(optional["module_address"]),
            type=_kept(entry.type, 256),
            name=_kept(entry.name, 256),
            provider=_kept(entry.provider_name, 256),
            mode=_kept(entry.mode, 16),
            action=action,
            reason=_kept(entry.action_reason, 64),
            region=_kept(region_of(after, before, self._region(entry)), 64),
            tags=None if tags is None else {_kept(k): _kept(v) for k, v in tags.shown().items()},
            change=document,
        )

    def _secrets_of(self, change: _Change) -> Secrets:
        """Return what to hide in one resource: the plan's secrets and what is marked at any place of its own."""
        own = {
            *marked_texts(change.before, change.before_sensitive),
            *marked_texts(change.after, change.after_sensitive),
        }
        return self._secrets.with_more(own) if own else self._secrets

    def _region(self, entry: _Resource) -> str:
        module = entry.module_address
        return self._regions.get((entry.provider_name, module)) or self._regions.get(
            (entry.provider_name, ""), ""
        )


def _kept(text: str, longest: int = MAX_ADDRESS) -> str:
    """Return a text as every database takes it."""
    return text.replace("\0", "\ufffd")[:longest]


def _decoded(path: Path) -> _Document:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise PlanUnreadable("the plan is empty")
            if size > MAX_BYTES:
                raise PlanUnreadable(f"the plan has {size} bytes; the limit is {MAX_BYTES}")
            # The entries refer to the mapping, which lives as long as they do.
            return _documents.decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise PlanUnreadable(f"the plan cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise PlanUnreadable(f"the plan is not what `show -json` writes: {error}") from None
    except RecursionError:
        raise PlanUnreadable("the plan is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PlanUnreadable(f"the plan is not valid JSON: {error}") from None


def _check_format(version: str) -> None:
    major = version.partition(".")[0]
    if major not in ("0", "1"):
        raise PlanUnreadable(f"the plan has format version {version[:32]!r}; 0.x and 1.x are known")


def _action(actions: Sequence[str], where: str) -> Action:
    found = action_of(actions)
    if found is None:
        raise PlanUnreadable(
            f"the plan has actions at {where} that are not known: {', '.join(actions)[:128]}"
        )
    return found


def _regions(configuration: _Configuration) -> dict[tuple[str, str], str]:
    """Return the regions that provider configurations name as constants, by provider and module."""
    found: dict[tuple[str, str], str] = {}
    for provider in configuration.provider_config.values():
        for name in ("region", "location"):
            expression = provider.expressions.get(name)
            value = expression.get("constant_value") if isinstance(expression, Mapping) else None
            if isinstance(value, str):
                found.setdefault((provider.full_name, provider.module_address), value)
    return found
