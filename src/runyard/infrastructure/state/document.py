"""Reads state documents: what counts for versions, and the outputs. Owns the format; keeps nothing.

A state is untrusted and may be large, so only what is needed is decoded; the rest is skipped without being built.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from runyard.infrastructure.state.errors import BadState
from runyard.infrastructure.state.model import MAX_SERIAL, Facts

_MAX_LINEAGE = 128
_MD5 = re.compile(r"[0-9a-f]{32}")


class _Resource(msgspec.Struct):
    mode: str = "managed"
    instances: list[msgspec.Raw] | None = None


class _Outline(msgspec.Struct):
    """The members that every state has, one that OpenTofu encrypted before it was sent included."""

    serial: int
    lineage: str
    terraform_version: str = ""
    resources: list[_Resource] | None = None


class Output(msgspec.Struct, frozen=True):
    """One output value of a state."""

    value: Any = None
    type: Any = None
    """The type as Terraform writes it: `"string"`, `["list", "string"]`, ..."""
    sensitive: bool = False


class _Outputs(msgspec.Struct):
    outputs: dict[str, Output] | None = None


_outline = msgspec.json.Decoder(_Outline)
_outputs = msgspec.json.Decoder(_Outputs)


def read_facts(body: bytes) -> Facts:
    """Return what a state says about itself. Raises BadState; its message has nothing of the content."""
    found = _decoded(_outline, body)
    managed = (one for one in found.resources or () if one.mode == "managed")
    return checked(
        Facts(
            serial=found.serial,
            lineage=found.lineage,
            md5=hashlib.md5(body, usedforsecurity=False).hexdigest(),
            size=len(body),
            terraform_version=found.terraform_version[:32].replace("\0", ""),
            resources=sum(len(one.instances or ()) for one in managed),
        )
    )


def checked(facts: Facts) -> Facts:
    """Refuse what no state can say of itself. Raises BadState."""
    if not 0 <= facts.serial <= MAX_SERIAL:
        raise BadState(f"the serial of a state is a whole number from 0 to {MAX_SERIAL}")
    if len(facts.lineage) > _MAX_LINEAGE or "\0" in facts.lineage:
        raise BadState(f"the lineage of a state has at most {_MAX_LINEAGE} characters")
    if _MD5.fullmatch(facts.md5) is None:
        raise BadState("the MD5 of a state has 32 hexadecimal digits")
    return facts


def read_outputs(body: bytes) -> Mapping[str, Output]:
    """Return the outputs of a state by name. Raises BadState."""
    return _decoded(_outputs, body).outputs or {}


def _decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:  # noqa: ANN401  each caller knows its type
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The decoder's own words could quote the document.
        raise BadState("the document is not a Terraform state: it needs a serial and a lineage") from None
