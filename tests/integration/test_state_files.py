"""Sealed files: what goes in comes out, and no file can be cut, mixed or moved without being noticed."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runyard.infrastructure.state.files import FRAME_BYTES, SealedFiles
from runyard.kernel.blobs import BlobStore
from runyard.kernel.crypto import CannotUnseal, Vault


class Files:
    """A folder of sealed files."""

    def __init__(self, folder: Path) -> None:
        self.blobs = BlobStore(folder / "blobs")
        self.vault = Vault(folder / "keys")
        self.sealed = SealedFiles(self.blobs, self.vault, "state")

    async def put(self, name: str, *pieces: bytes) -> str:
        async def body() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        with self.sealed.incoming() as incoming:
            assert await self.sealed.receive(name, body(), incoming) == sum(map(len, pieces))
            assert await self.sealed.look(name, incoming, bytes) == b"".join(pieces)
            return await self.sealed.keep(incoming)

    async def get(self, name: str, digest: str) -> bytes:
        return b"".join([piece async for piece in self.sealed.stream(name, digest)])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize(
    "size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES, 3 * FRAME_BYTES + 7]
)
@pytest.mark.parametrize("piece", [1 << 16, 5 << 20])
async def test_bytes_of_any_length_come_back(files: Files, size: int, piece: int) -> None:
    body = os.urandom(size)
    digest = await files.put("one", *(body[start : start + piece] for start in range(0, size, piece)))
    assert await files.get("one", digest) == body
    assert await files.sealed.read("one", digest, len) == size
    with pytest.raises(CannotUnseal):
        await files.get("two", digest)


async def test_cut_mixed_and_damaged_files_are_refused(files: Files) -> None:
    body = os.urandom(3 * FRAME_BYTES)
    raw = files.blobs.get(await files.put("one", body))
    frames = [int.from_bytes(raw[:4], "big") + 4]
    frames.append(frames[0] + int.from_bytes(raw[frames[0] : frames[0] + 4], "big") + 4)
    first, second, third = raw[: frames[0]], raw[frames[0] : frames[1]], raw[frames[1] :]
    wrong = {
        "empty": b"",
        "cut at a frame": first + second,
        "cut within one": raw[:-1],
        "longer": raw + b"x",
        "mixed": second + first + third,
        "twice": first + second + second + third,
        "without one": first + third,
        "damaged": first[:50] + bytes((first[50] ^ 1,)) + first[51:] + second + third,
        "a length without an end": b"\xff\xff\xff\xff" + raw[4:],
    }
    opened = []
    for name, content in wrong.items():
        try:
            await files.get("one", files.blobs.put(content))
        except CannotUnseal:
            continue
        opened.append(name)
    assert opened == []


async def test_rotation_seals_every_frame_again(files: Files) -> None:
    body = os.urandom(2 * FRAME_BYTES + 5)
    digest = await files.put("one", body)
    assert await files.sealed.reseal("one", digest) is None
    files.vault.rotate()
    again = await files.sealed.reseal("one", digest)
    files.vault.forget_old()
    assert again is not None
    assert await files.get("one", again) == body
    with pytest.raises(CannotUnseal):
        await files.get("one", digest)
