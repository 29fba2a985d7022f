"""Hostile and honest gzipped tar archives."""

import contextlib
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.kernel.errors import TooLarge
from runyard.kernel.tarballs import BadTarball, TarballLimits, check, unpack

LIMITS = TarballLimits(bytes=1 << 20, entries=100)


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def test_unpack_of_an_honest_archive_makes_missing_folders_and_keeps_modes(tmp_path: Path) -> None:
    data = packed(
        (entry("main.tf"), b"a"),
        (entry("modules/x/run.sh", mode=0o4755), b"b"),
        (entry("link", tarfile.SYMTYPE, "modules/x/run.sh"), b""),
        (entry("modules/x", tarfile.DIRTYPE), b""),
    )
    unpack(io.BytesIO(data), str(tmp_path), LIMITS)
    assert (tmp_path / "main.tf").read_bytes() == b"a"
    assert (tmp_path / "link").read_bytes() == b"b"
    assert (tmp_path / "modules/x/run.sh").stat().st_mode & 0o7777 == 0o755
    assert check(io.BytesIO(data), LIMITS) == 2


@pytest.mark.parametrize(
    "member",
    [
        entry("/etc/passwd"),
        entry("../outside"),
        entry("a/../../outside"),
        entry("link", tarfile.SYMTYPE, "/etc"),
        entry("link", tarfile.SYMTYPE, "../x"),
        entry("a/link", tarfile.SYMTYPE, "../../x"),
        entry("hard", tarfile.LNKTYPE, "main.tf"),
        entry("device", tarfile.CHRTYPE),
        entry("fifo", tarfile.FIFOTYPE),
        entry("deep/" * 200 + "x"),
        entry("n" * 5000),
    ],
    ids=lambda info: info.name[:12],
)
def test_check_of_an_unsafe_entry_is_refused(member: tarfile.TarInfo) -> None:
    with pytest.raises(BadTarball):
        check(io.BytesIO(packed((member, b""))), LIMITS)


def test_unpack_through_a_link_is_refused_and_writes_nothing_outside(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "in" / "sub"
    outside.mkdir(parents=True)
    data = packed((entry("a", tarfile.SYMTYPE, "sub"), b""), (entry("a/evil"), b"x"))
    with pytest.raises(BadTarball, match="no folder"):
        unpack(io.BytesIO(data), str(inside), LIMITS)
    assert os.listdir(outside) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04", b"\x1f\x8b\x08", gzip.compress(b"no tar" * 200, mtime=0)],
    ids=["empty", "zip", "head", "no tar"],
)
def test_check_of_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(BadTarball):
        check(io.BytesIO(data), LIMITS)


def test_check_of_a_truncated_archive_is_refused() -> None:
    data = packed((entry("a"), os.urandom(5000)))
    with pytest.raises(BadTarball):
        check(io.BytesIO(data[: len(data) // 2]), LIMITS)


def test_check_of_a_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(TooLarge):
        check(io.BytesIO(packed((entry("zeros"), bytes(2 << 20)))), LIMITS)
    with pytest.raises(TooLarge):
        check(io.BytesIO(packed(*((entry(f"f{number}"), b"") for number in range(101)))), LIMITS)


def test_check_of_headers_without_end_is_refused() -> None:
    info = entry("a")
    info.pax_headers = {"comment": "x" * (4 << 20)}
    with pytest.raises(BadTarball):
        check(io.BytesIO(packed((info, b""))), LIMITS)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 400), st.integers(0, 255))
def test_check_of_a_damaged_archive_says_so_or_passes(noise: bytes, place: int, value: int) -> None:
    body = bytearray(
        gzip.decompress(packed((entry("a/b"), noise), (entry("l", tarfile.SYMTYPE, "a/b"), b"")))
    )
    body[place] = value
    with contextlib.suppress(BadTarball, TooLarge):
        check(io.BytesIO(gzip.compress(bytes(body))), LIMITS)
