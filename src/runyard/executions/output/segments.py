"""The log on disk. Owns both formats; knows nothing of writers, readers or the ledger.

A long log has two files of its own: `<id>.log` holds nothing but the bytes, `<id>.idx` holds 24-byte records of
(offset, length, stream, time). A small finished log is one entry of a pack, a file that many share: one write, no
file of its own. Nothing is synced to the disk; a killed server leaves at most a torn tail, which readers cut.
"""

import bisect
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from runyard.executions.output.model import Chunk, OutputGone, Stream
from runyard.kernel.clock import from_unix_micros
from runyard.kernel.ids import ExecutionId

RECORD = struct.Struct("<QIIQ")
"""Offset, length, stream, microseconds since 1970."""
_PACK_HEAD = struct.Struct("<4sII12sI")
"""Magic, checksum of all that follows it, number of records, execution, bytes of data."""
_MAGIC = b"RYP1"
_BATCH = 1024

Record = tuple[int, int, int, int]
"""Offset, length, stream, microseconds."""


def file_base(root: Path, execution_id: ExecutionId) -> Path:
    """Return the path of a log of its own, without suffix; a folder holds 68 minutes of executions."""
    return root / "files" / execution_id[:5] / execution_id


def open_files(base: Path) -> tuple[int, int]:
    """Make the two files of a log for appending and return their descriptors."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        data = os.open(f"{base}.log", flags, 0o600)
    except FileNotFoundError:
        base.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = os.open(f"{base}.log", flags, 0o600)
    try:
        return data, os.open(f"{base}.idx", flags, 0o600)
    except BaseException:
        os.close(data)
        raise


def write_all(fd: int, parts: Sequence[bytes | bytearray | memoryview]) -> None:
    """Write all parts, however often the kernel takes less than offered. Raises OSError."""
    left = [memoryview(part) for part in parts if len(part)]
    while left:
        written = os.writev(fd, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def pack_records(records: Sequence[Record]) -> bytes:
    """Return the index bytes of some records."""
    return b"".join(RECORD.pack(*record) for record in records)


def slice_records(
    records: Sequence[Record],
    get: Callable[[int, int], bytes],
    offset: int,
    limit: int,
    stream: Stream | None,
) -> tuple[list[Chunk], int]:
    """Cut chunks of at most `limit` bytes from `offset` on. `get(offset, length)` supplies the bytes.
    Return them and the offset after the last byte that was looked at.
    """
    chunks: list[Chunk] = []
    position = offset
    first = max(0, bisect.bisect_right(records, offset, key=lambda record: record[0]) - 1)
    for start, length, kind, micros in records[first:]:
        end = start + length
        if end <= position:
            continue
        if limit <= 0:
            break
        begin = max(start, position)
        take = end - begin
        if stream is None or kind == stream:
            take = min(take, limit)
            data = get(begin, take)
            if data:
                chunks.append(Chunk(begin, Stream(kind), from_unix_micros(micros), data))
                limit -= len(data)
            if len(data) < take:
                return chunks, begin + len(data)
        position = begin + take
    return chunks, position


class FileLog:
    """The two files of one log, opened for reading."""

    def __init__(self, base: Path, size: int | None = None) -> None:
        """Open them; `size` bounds what is read of a log that still grows. Raises OutputGone."""
        try:
            self._data = os.open(f"{base}.log", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OutputGone from None
        try:
            self._index = os.open(f"{base}.idx", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            os.close(self._data)
            raise OutputGone from None
        self._count = os.fstat(self._index).st_size // RECORD.size
        on_disk = os.fstat(self._data).st_size
        self.size = on_disk if size is None else min(size, on_disk)

    def close(self) -> None:
        """Close both files."""
        os.close(self._data)
        os.close(self._index)

    def get(self, offset: int, length: int) -> bytes:
        """Return bytes of the log, fewer at its end."""
        return os.pread(self._data, max(0, min(length, self.size - offset)), offset)

    def read(self, offset: int, limit: int, stream: Stream | None) -> tuple[list[Chunk], int]:
        """Cut chunks; see `slice_records`. Looks at a bounded number of records: the caller goes on."""
        place = self._find(offset)
        raw = os.pread(self._index, RECORD.size * min(_BATCH, self._count - place), place * RECORD.size)
        records = list(RECORD.iter_unpack(raw[: len(raw) // RECORD.size * RECORD.size]))
        return slice_records(records, self.get, offset, limit, stream)

    def _record(self, place: int) -> Record:
        found: Record = RECORD.unpack(os.pread(self._index, RECORD.size, place * RECORD.size))
        return found

    def _find(self, offset: int) -> int:
        """Return the place of the last record that begins at or before an offset."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if self._record(middle)[0] <= offset:
                low = middle + 1
            else:
                high = middle
        return max(0, low - 1)


def cut_torn_tail(base: Path) -> int:
    """Make the files of a killed writer agree: cut a torn record and bytes that no record tells of.
    Return the size of the log; 0 when there are no files.
    """
    try:
        with open(f"{base}.log", "r+b") as data, open(f"{base}.idx", "r+b") as index:
            size = os.fstat(data.fileno()).st_size
            count = os.fstat(index.fileno()).st_size // RECORD.size
            end = 0
            while count:
                index.seek((count - 1) * RECORD.size)
                start, length, _, _ = RECORD.unpack(index.read(RECORD.size))
                if start + length <= size:
                    end = start + length
                    break
                count -= 1
            index.truncate(count * RECORD.size)
            data.truncate(end)
            return end
    except FileNotFoundError:
        return 0


class PackWriter:
    """Appends small finished logs to the current pack; a pack is closed by size or age."""

    def __init__(self, root: Path, *, max_bytes: int = 32 << 20, max_age_us: int = 3_600_000_000) -> None:
        """Use `<root>/packs`; the first pack is made when it is needed."""
        self._folder = root / "packs"
        self._max_bytes = max_bytes
        self._max_age_us = max_age_us
        self._fd: int | None = None
        self._size = 0
        self._born = 0
        self.name = ""

    def append(
        self, execution_id: ExecutionId, records: Sequence[Record], data: bytes | bytearray, now_us: int
    ) -> str:
        """Write an entry and return its place as `p:<pack>:<position>:<length>`. Raises OSError."""
        if self._fd is None or self._size > self._max_bytes or now_us - self._born > self._max_age_us:
            self._roll(now_us)
        assert self._fd is not None
        body = pack_records(records)
        tail = _PACK_HEAD.pack(_MAGIC, 0, len(records), bytes.fromhex(execution_id), len(data))[8:]
        checksum = zlib.crc32(data, zlib.crc32(body, zlib.crc32(tail)))
        entry = b"".join((_MAGIC, checksum.to_bytes(4, "little"), tail, body, data))
        place = f"p:{self.name}:{self._size}:{len(entry)}"
        try:
            write_all(self._fd, (entry,))
        except OSError:
            self.close()  # a torn entry is nobody's: the next one begins a new pack
            raise
        self._size += len(entry)
        return place

    def close(self) -> None:
        """Close the current pack."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _roll(self, now_us: int) -> None:
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        stamp = now_us
        while True:
            name = f"{stamp:016x}"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self._folder / name, flags, 0o600)
                break
            except FileExistsError:
                stamp += 1
        self.name, self._size, self._born = name, 0, now_us


class PackedLog:
    """One entry of a pack, read whole: it is small."""

    def __init__(self, root: Path, ref: str, execution_id: ExecutionId) -> None:
        """Read and check the entry. Raises OutputGone."""
        _, name, position, length = ref.split(":")
        try:
            fd = os.open(root / "packs" / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OutputGone from None
        try:
            entry = os.pread(fd, int(length), int(position))
        finally:
            os.close(fd)
        if len(entry) < _PACK_HEAD.size:
            raise OutputGone("the output was lost in a power failure")
        magic, checksum, count, owner, size = _PACK_HEAD.unpack_from(entry)
        intact = magic == _MAGIC and zlib.crc32(memoryview(entry)[8:]) == checksum
        if not intact or owner.hex() != execution_id:
            raise OutputGone("the output was lost in a power failure")
        body = _PACK_HEAD.size + count * RECORD.size
        self.records: list[Record] = list(RECORD.iter_unpack(entry[_PACK_HEAD.size : body]))
        self.data = entry[body : body + size]

    def read(self, offset: int, limit: int, stream: Stream | None) -> tuple[list[Chunk], int]:
        """Cut chunks; see `slice_records`."""
        return slice_records(
            self.records, lambda begin, length: self.data[begin : begin + length], offset, limit, stream
        )
