"""The blob store: by content, once, whole or not at all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runyard.kernel.blobs import BlobStore
from runyard.kernel.errors import InvalidArgument, NotFound, TooLarge


def test_blobs_put_twice_is_one_file(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    digest = store.put(b"content")
    assert store.put(b"content") == digest
    assert store.get(digest) == b"content"
    assert store.size(digest) == 7
    assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 1
    store.delete(digest)
    store.delete(digest)
    with pytest.raises(NotFound):
        store.get(digest)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "g" * 64])
def test_blobs_name_that_is_no_digest_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument):
        BlobStore(tmp_path).get(name)


def test_blobs_received_in_pieces_can_be_read_before_and_after_they_are_kept(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with store.receive() as incoming:
        incoming.write(b"con")
        with incoming.reader() as reader:
            assert reader.read() == b"con"
        incoming.write(b"tent")
        digest = incoming.keep()
    assert digest == store.put(b"content")
    with store.open(digest) as reader:
        assert reader.read() == b"content"


async def test_blobs_taken_from_a_body_end_before_the_piece_that_is_too_much(tmp_path: Path) -> None:
    async def body(*pieces: bytes) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    store = BlobStore(tmp_path)
    with store.receive() as incoming:
        await incoming.take(body(b"abc", b"de"), 5, "a package")
        assert store.get(incoming.keep()) == b"abcde"
    with store.receive() as incoming:
        with pytest.raises(TooLarge, match="a package has at most 5 bytes"):
            await incoming.take(body(b"abc", b"def"), 5, "a package")
        assert incoming.size == 3


def test_blobs_not_kept_leave_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with store.receive() as incoming:
        incoming.write(b"x")
    (tmp_path / ".incoming.left").write_bytes(b"of a killed server")
    BlobStore(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(NotFound):
        store.open("0" * 64)
