"""Filters on data: JSON, YAML, paths, times, secrets. Owns their published behaviour."""

import json
import posixpath
from datetime import UTC, datetime, timedelta

import yaml
from jinja2 import pass_context
from jinja2.runtime import Context

from runyard.actions.documents import read_yaml
from runyard.actions.templating.budget import budget
from runyard.actions.templating.datastore import Datastore
from runyard.actions.templating.filters.wrapping import short, within
from runyard.actions.templating.jsonpath import find
from runyard.actions.values import Json

NONE_TEXT = "%*****__%NONE%__*****%"
"""How `use_none` writes null into text. Published: clients and packs compare it."""
DATASTORE = "datastore of this rendering"
"""The variable that holds the datastore; no template can spell this name."""
_YAML_WORK = 20_000
"""Units of a value that is written as YAML, which takes a hundred times as long as JSON."""
_Dumper: Json = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def from_json_string(value: Json) -> Json:
    """Parse JSON."""
    return json.loads(str(value))


def from_yaml_string(value: Json) -> Json:
    """Parse YAML of JSON's types."""
    return read_yaml(short(str(value))).value


def to_json_string(
    value: Json, indent: int | None = None, sort_keys: bool = False, separators: Json = (",", ": ")
) -> str:
    """Write JSON."""
    if indent is not None:
        within(indent, 16, "an indent")
    budget().weigh(value)
    item, key = separators if separators is not None else (",", ": ")
    return json.dumps(value, indent=indent, sort_keys=sort_keys, separators=(str(item)[:4], str(key)[:4]))


def to_yaml_string(value: Json, indent: int | None = None, allow_unicode: bool = True) -> str:
    """Write YAML in block style."""
    if indent is not None:
        within(indent, 9, "an indent")
    before = budget().spent
    budget().weigh(value)
    within(budget().spent - before, _YAML_WORK, "the value to write as YAML")
    plain = json.loads(json.dumps(value))  # equal members that are one object would become anchors
    return str(
        yaml.dump(plain, Dumper=_Dumper, default_flow_style=False, indent=indent, allow_unicode=allow_unicode)
    )


def json_escape(value: Json) -> str:
    """Escape a text so that it can stand between quotes in JSON."""
    budget().weigh(value)
    return json.dumps(value).strip('"')


def jsonpath_query(value: Json, query: str) -> Json:
    """Return the list of what a JSONPath finds, None when it finds nothing."""
    return find(query, value, budget().spend) or None


def to_complex(value: Json) -> str:
    """Write JSON, so that the parameter gets the value with its type."""
    budget().weigh(value)
    return json.dumps(value)


def use_none(value: Json) -> Json:
    """Write null so that it survives as null and not as the word None."""
    return NONE_TEXT if value is None else value


@pass_context
def decrypt_kv(context: Context, value: Json) -> Json:
    """Open the sealed text of a secret key; a key that is absent stays empty."""
    text = str(value)
    store: Datastore | None = context.get(DATASTORE)
    return store.decrypt(text) if text and store is not None else text


def basename(value: Json) -> str:
    """Return the last part of a path."""
    return posixpath.basename(str(value))


def dirname(value: Json) -> str:
    """Return a path without its last part."""
    return posixpath.dirname(str(value))


def to_human_time_from_seconds(seconds: float) -> str:
    """Write a duration as `1d2h3m4s`, leaving out leading parts that are zero.

    Below one second the number is printed as it is before the sign of microseconds, as clients know it.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError("to_human_time_from_seconds needs a number")
    if seconds == 0:
        return "0s"
    if seconds < 1:
        return f"{seconds}\u03bcs"
    moment = datetime(1, 1, 1, tzinfo=UTC) + timedelta(seconds=round(seconds))
    parts = [moment.year - 1, moment.timetuple().tm_yday - 1, moment.hour, moment.minute, moment.second]
    first = next(index for index, part in enumerate(parts) if part)
    return "".join(f"{part}{unit}" for part, unit in list(zip(parts, "ydhms", strict=True))[first:])
