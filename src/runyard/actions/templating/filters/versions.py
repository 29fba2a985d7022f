"""Semantic versions in templates. Owns parsing and order as semver.org 2.0.0 has them."""

import re
from dataclasses import dataclass

_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?",
    re.ASCII,
)
_RULE = re.compile(r"(>=|<=|==|!=|>|<)?(.+)", re.DOTALL)
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Version:
    """A version; the build part takes no part in the order."""

    major: int
    minor: int
    patch: int
    before: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read `1.2.3`, `1.2.3-rc.1` or `1.2.3+build`. Raises ValueError."""
        found = _VERSION.fullmatch(text) if len(text) <= _LONGEST else None
        if found is None:
            raise ValueError(f"{text} is not valid SemVer string")
        major, minor, patch, before, _ = found.groups()
        return cls(int(major), int(minor), int(patch), tuple(before.split(".")) if before else ())

    def compare(self, other: "Version") -> int:
        """Return -1, 0 or 1."""
        mine, its = (self.major, self.minor, self.patch), (other.major, other.minor, other.patch)
        if mine != its:
            return -1 if mine < its else 1
        if not self.before or not other.before:
            return bool(other.before) - bool(self.before)
        left, right = [_rank(part) for part in self.before], [_rank(part) for part in other.before]
        return (left > right) - (left < right)


def _rank(part: str) -> tuple[int, int, str]:
    return (0, int(part), "") if part.isdigit() else (1, 0, part)


def version_compare(value: str, pattern: str) -> int:
    """Return -1, 0 or 1 as the value is older than, equal to or newer than the other version."""
    return Version.parse(value).compare(Version.parse(pattern))


def version_more_than(value: str, pattern: str) -> bool:
    """Tell whether the value is newer."""
    return version_compare(value, pattern) == 1


def version_less_than(value: str, pattern: str) -> bool:
    """Tell whether the value is older."""
    return version_compare(value, pattern) == -1


def version_equal(value: str, pattern: str) -> bool:
    """Tell whether both are equal in order."""
    return version_compare(value, pattern) == 0


def version_match(value: str, pattern: str) -> bool:
    """Tell whether the value fits a comparison such as `>=1.2.0`; without an operator it must be equal."""
    found = _RULE.fullmatch(pattern)
    if found is None:
        raise ValueError("the pattern must be a comparison such as >=1.2.0")
    order = version_compare(value, found[2])
    wanted = {">": (1,), ">=": (0, 1), "<": (-1,), "<=": (-1, 0), "!=": (-1, 1)}
    return order in wanted.get(found[1] or "==", (0,))


def version_bump_major(value: str) -> str:
    """Return the next major version."""
    return f"{Version.parse(value).major + 1}.0.0"


def version_bump_minor(value: str) -> str:
    """Return the next minor version."""
    version = Version.parse(value)
    return f"{version.major}.{version.minor + 1}.0"


def version_bump_patch(value: str) -> str:
    """Return the next patch version."""
    version = Version.parse(value)
    return f"{version.major}.{version.minor}.{version.patch + 1}"


def version_strip_patch(value: str) -> str:
    """Return `major.minor`."""
    version = Version.parse(value)
    return f"{version.major}.{version.minor}"
