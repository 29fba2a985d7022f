"""The blob store: by content, once, whole or not at all."""

from pathlib import Path

import pytest

from runyard.kernel.blobs import BlobStore
from runyard.kernel.errors import InvalidArgument, NotFound


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
