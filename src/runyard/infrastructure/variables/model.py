"""Variables, sets and how they win over each other. Owns the types and the pure rules; no I/O, no clock, no keys.

Weakest first: the root project's variables, the sets consumed there, the next project's, ..., the sets bound to the
workspace, its own variables. Within a set its own variables win over those of its parents, an earlier parent over a
later one.
"""

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.infrastructure.variables.errors import InvalidVariable, VariableConflict
from runyard.kernel.ids import AccountId, HexId, ProjectId

LONGEST_KEY: Final = 256
LARGEST_VALUE: Final = 65_536
MOST: Final = 1000
"""Variables of one owner."""
MOST_PARENTS: Final = 50
MOST_ABOVE: Final = 100
"""Sets above one set, in all: each gives what all above it give, which is kept in memory for each of them."""
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_INPUT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_INPUT_PREFIX: Final = "TF_VAR_"
RESERVED: Final = frozenset(
    (
        "HOME", "PATH", "TF_CLI_CONFIG_FILE", "TF_DATA_DIR", "TF_IN_AUTOMATION", "TF_INPUT", "TF_PLUGIN_CACHE_DIR",
        "TF_WORKSPACE",
    )
)  # fmt: skip
RESERVED_PREFIXES: Final = ("TF_CLI_ARGS", "TF_HTTP_", "RUNYARD_")
"""Names by which a variable could change what command a run is, or where its state goes."""


class VariableId(HexId):
    """Names a variable."""

    __slots__ = ()
    kind = "variable"


class VariableSetId(HexId):
    """Names a variable set."""

    __slots__ = ()
    kind = "variable set"


class Destination(enum.StrEnum):
    """What a variable is to a run."""

    ENV = "env"
    """A variable of its environment."""
    IAC = "iac"
    """An input variable of the code."""


class Sensitivity(enum.StrEnum):
    """Whether a value can be read again."""

    STRING = "string"
    SECRET = "secret"


class OwnerKind(enum.StrEnum):
    """What variables hang on."""

    PROJECT = "project"
    WORKSPACE = "workspace"
    SET = "set"


class Owner(msgspec.Struct, frozen=True):
    """What a variable hangs on."""

    kind: OwnerKind
    id: str


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable as people may see it: a secret has no value here."""

    id: VariableId
    key: str
    value: str | None
    sensitivity: Sensitivity
    destination: Destination


class NewVariable(msgspec.Struct, frozen=True, kw_only=True):
    """What to write under a key and destination."""

    key: str
    value: str | None = None
    """None keeps the value of a secret that is there; an empty text does so too."""
    sensitivity: Sensitivity = Sensitivity.STRING
    destination: Destination = Destination.ENV


class VariableSet(msgspec.Struct, frozen=True, kw_only=True):
    """A collection of variables under a name."""

    id: VariableSetId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    name: str
    description: str = ""
    labels: Sequence[str] = ()
    parents: Sequence[str] = ()
    """Ids, the one that wins first."""
    extras: Mapping[str, Any] = {}
    """What only one dialect knows, under that dialect's name."""
    version: int = 1
    """Counts changes."""
    created_at: datetime
    updated_at: datetime


class NewSet(msgspec.Struct, frozen=True, kw_only=True):
    """What a set shall be."""

    name: str
    description: str = ""
    labels: Sequence[str] = ()
    parents: Sequence[str] = ()
    variables: Sequence[NewVariable] = ()
    extras: Mapping[str, Any] = {}


class SetChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; UNSET leaves a member as it is. Variables replace all that the set has."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    labels: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    parents: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    variables: Sequence[NewVariable] | msgspec.UnsetType = msgspec.UNSET
    extras: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET
    """Merged: each dialect's part replaces that part."""


class Plain(msgspec.Struct, frozen=True):
    """A value with whether it is a secret; lives only while variables are worked out."""

    value: str
    secret: bool

    def __repr__(self) -> str:
        """Never show a secret, not even in a traceback."""
        return f"Plain({'***' if self.secret else self.value!r})"


Key = tuple[str, Destination]
Values = Mapping[Key, Plain]


def check(variable: NewVariable) -> None:
    """Refuse what no run could be given. Raises InvalidVariable."""
    key = variable.key
    if not key or len(key) > LONGEST_KEY:
        raise InvalidVariable(f"Key must have 1 to {LONGEST_KEY} characters")
    if variable.destination is Destination.ENV:
        if _ENV_NAME.match(key) is None:
            raise InvalidVariable(f"Key {key[:80]!r} is not a name of an environment variable")
        if key in RESERVED or key.startswith(RESERVED_PREFIXES):
            raise InvalidVariable(f"Key {key} is set by Runyard itself")
    elif _INPUT_NAME.match(input_name(key)) is None:
        raise InvalidVariable(f"Key {key[:80]!r} is not a name of an input variable")
    value = variable.value or ""
    if "\0" in value or len(value.encode("utf-8", "surrogatepass")) > LARGEST_VALUE:
        raise InvalidVariable(f"Value has at most {LARGEST_VALUE} bytes and no NUL")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidVariable("Value is not valid text")


def input_name(key: str) -> str:
    """Return the input variable that a key means: clients write it bare and as `TF_VAR_name`."""
    return key.removeprefix(_INPUT_PREFIX) if len(key) > len(_INPUT_PREFIX) else key


def _meaning(key: Key) -> Key:
    """Two spellings of one input variable are one variable."""
    return (input_name(key[0]), key[1]) if key[1] is Destination.IAC else key


class Sets(msgspec.Struct, frozen=True):
    """The sets of an account with the values of those that matter."""

    parents: Mapping[str, Sequence[str]]
    values: Mapping[str, Values]

    def closure(self, set_ids: Iterable[str]) -> Sequence[str]:
        """Return sets with everything above them, each once."""
        found: dict[str, None] = {}
        waiting = list(set_ids)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found[one] = None
                waiting.extend(self.parents.get(one, ()))
        return list(found)

    def below(self, set_id: str) -> Sequence[str]:
        """Return the sets that have one among the sets above them, sorted."""
        children: dict[str, list[str]] = {}
        for child, above in self.parents.items():
            for one in above:
                children.setdefault(one, []).append(child)
        return sorted(set(Sets(children, {}).closure([set_id])) - {set_id}) if set_id in children else []

    def flat(self, set_id: str, known: dict[str, Values] | None = None) -> Values:
        """Return what a set gives, its parents included."""
        known = {} if known is None else known
        if set_id not in known:
            result: dict[Key, Plain] = {}
            for parent in reversed(self.parents.get(set_id, ())):
                result |= self.flat(parent, known)
            result |= {_meaning(key): value for key, value in self.values.get(set_id, {}).items()}
            known[set_id] = result
        return known[set_id]

    def level(self, set_ids: Sequence[str]) -> Values:
        """Return what several sets at one place give together. A set wins over those above it; between others, different
        values for one variable raise VariableConflict.
        """
        result: dict[Key, Plain] = {}
        origin: dict[Key, str] = {}
        known: dict[str, Values] = {}
        above = {one: set(self.closure([one])) for one in set_ids}
        for one in sorted(above, key=lambda set_id: len(above[set_id])):
            for key, plain in self.flat(one, known).items():
                other = origin.get(key)
                if other is not None and other not in above[one] and result[key].value != plain.value:
                    raise VariableConflict(
                        f"the variable sets {other} and {one} give {key[0]} different values at the same place"
                    )
                result[key], origin[key] = plain, one
        return result


def check_parents(parents: Mapping[str, Sequence[str]], set_id: str, wanted: Sequence[str]) -> None:
    """Refuse parents that would make a set its own ancestor, or are named twice. Raises InvalidVariable."""
    if len(set(wanted)) != len(wanted) or len(wanted) > MOST_PARENTS:
        raise InvalidVariable(f"Parents are at most {MOST_PARENTS} different variable sets")
    if set_id in Sets({**parents, set_id: ()}, {}).closure(wanted):
        raise InvalidVariable("Parents must not contain the variable set itself or one below it")
    after = Sets({**parents, set_id: wanted}, {})
    if any(len(after.closure([one])) > MOST_ABOVE + 1 for one in (set_id, *after.below(set_id))):
        raise InvalidVariable(f"A variable set has at most {MOST_ABOVE} sets above it")


def merged(levels: Iterable[Values]) -> Values:
    """Return what holds after all levels, the weakest first."""
    result: dict[Key, Plain] = {}
    for level in levels:
        result |= {_meaning(key): value for key, value in level.items()}
    return result
