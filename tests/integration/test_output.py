"""The output log: what is written is read, however it is cut, followed, searched, limited, torn or swept."""

import asyncio
import os
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.executions.output.log import OutputLog, OutputOptions
from runyard.executions.output.model import Chunk, OutputGone, OutputLocation, Stream
from runyard.executions.output.segments import RECORD, file_base
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import ExecutionId

Written = list[tuple[Stream, bytes]]

streams = st.sampled_from([Stream.STDOUT, Stream.STDERR])
writings = st.lists(st.tuples(streams, st.binary(max_size=30_000)), max_size=12)


def joined(chunks: Sequence[Chunk], stream: Stream | None = None) -> bytes:
    return b"".join(chunk.data for chunk in chunks if stream is None or chunk.stream is stream)


def fill(log: OutputLog, execution_id: ExecutionId, written: Written, *, close: bool = True) -> bytes:
    writer = log.writer(execution_id)
    for stream, data in written:
        writer.write(stream, data)
    if close:
        writer.close()
    return b"".join(data for _, data in written)


async def read_all(
    log: OutputLog, execution_id: ExecutionId, step: int, stream: Stream | None = None
) -> bytes:
    data, offset = b"", 0
    while chunks := await log.read(execution_id, offset, step, stream):
        data += joined(chunks)
        offset = chunks[-1].end
    return data


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=writings, flush=st.booleans(), close=st.booleans(), step=st.integers(1, 200_000))
async def test_log_any_writing_and_any_step_reads_the_same(
    tmp_path: Path, written: Written, flush: bool, close: bool, step: int
) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    whole = fill(log, execution_id, written, close=False)
    writer = log._writers[execution_id]
    if flush:
        writer.flush()
    if close:
        summary = writer.close()
        assert summary.total_bytes == summary.kept_bytes == len(whole)
        assert not summary.truncated
    step = max(step, len(whole) // 50 + 1)
    assert await read_all(log, execution_id, step) == whole
    for stream in (Stream.STDOUT, Stream.STDERR):
        wanted = b"".join(data for kind, data in written if kind is stream)
        assert await read_all(log, execution_id, step, stream) == wanted
    log.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=writings, offset=st.integers(0, 200_000), limit=st.integers(1, 100_000))
async def test_log_slice_equals_the_slice_of_the_whole(
    tmp_path: Path, written: Written, offset: int, limit: int
) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    whole = fill(log, execution_id, written)
    chunks = await log.read(execution_id, offset, limit)
    assert joined(chunks) == whole[offset : offset + limit]
    position = offset
    for chunk in chunks:
        assert chunk.offset == position
        position = chunk.end
    log.close()


async def test_log_bad_range_is_refused(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    for offset, limit in ((-1, 1), (0, 0)):
        with pytest.raises(InvalidArgument):
            await log.read(ExecutionId.new(), offset, limit)


async def test_log_long_after_closing_is_found_by_its_place(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "output")
    small, large = ExecutionId.new(), ExecutionId.new()
    refs = {}
    for execution_id, size in ((small, 100), (large, 300_000)):
        writer = log.writer(execution_id)
        writer.write(Stream.STDOUT, b"x" * size)
        refs[execution_id] = writer.close().ref
    log.close()
    again = OutputLog(tmp_path / "output")

    async def locate(execution_id: ExecutionId) -> OutputLocation:
        return OutputLocation(refs[execution_id], closed=True)

    again.locate = locate
    assert joined(await again.read(small)) == b"x" * 100
    assert await read_all(again, large, 1 << 20) == b"x" * 300_000
    assert [chunk async for chunk in again.follow(small)] == await again.read(small)
    assert not list((tmp_path / "output" / "files").glob(f"*/{small}*"))


@pytest.mark.parametrize("pause", [False, True])
async def test_follow_under_concurrent_writes_has_no_gap_and_no_duplicate(
    tmp_path: Path, pause: bool
) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    total = 60
    parts = [bytes([number % 256]) * (1 + number * 331 % 9000) for number in range(total)]

    async def follower(start: int) -> bytes:
        data, offset = b"", start
        async for chunk in log.follow(execution_id, start):
            assert chunk.offset == offset
            offset = chunk.end
            data += chunk.data
            if pause:
                await asyncio.sleep(0)
        return data

    early = [asyncio.create_task(follower(0)) for _ in range(5)]
    await asyncio.sleep(0)
    writer = log.writer(execution_id)
    late: list[tuple[int, asyncio.Task[bytes]]] = []
    for number, part in enumerate(parts):
        writer.write(Stream.STDOUT if number % 3 else Stream.STDERR, part)
        if number % 10 == 0:
            start = writer.kept // 2
            late.append((start, asyncio.create_task(follower(start))))
        if number % 4 == 0:
            await asyncio.sleep(0)
        if number == 40:
            writer.flush()
    writer.close()
    whole = b"".join(parts)
    for data in await asyncio.gather(*early):
        assert data == whole
    for start, task in late:
        assert await task == whole[start:]
    assert log._waiters == {}
    log.close()


async def test_follow_execution_that_ends_without_output_ends(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    execution_id = ExecutionId.new()

    async def collect() -> list[Chunk]:
        return [chunk async for chunk in log.follow(execution_id)]

    task = asyncio.create_task(collect())
    await asyncio.sleep(0)
    log.settle(execution_id, None)
    assert await asyncio.wait_for(task, 5) == []


async def test_hundred_followers_of_a_long_log_keep_memory_flat(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    writer = log.writer(execution_id)
    writer.write(Stream.STDOUT, os.urandom(1 << 20))
    stalled = [log.follow(execution_id) for _ in range(100)]
    for follower in stalled:
        await anext(follower)
    block = b"y" * (1 << 20)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(32):
        writer.write(Stream.STDOUT, block)
        await asyncio.sleep(0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1 << 20
    writer.close()
    for follower in stalled:
        await follower.aclose()  # type: ignore[attr-defined]
    log.close()


async def test_log_beyond_its_limit_keeps_the_first_bytes_and_counts(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    execution_id = ExecutionId.new()
    writer = log.writer(execution_id, limit_bytes=100_000)
    for _ in range(30):
        writer.write(Stream.STDOUT, b"0123456789" * 1000)
    summary = writer.close()
    assert (summary.total_bytes, summary.kept_bytes, summary.truncated) == (300_000, 100_000, True)
    assert await read_all(log, execution_id, 1 << 20) == b"0123456789" * 10_000
    log.close()


async def test_log_exactly_at_its_limit_is_not_truncated(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    writer = log.writer(ExecutionId.new(), limit_bytes=10)
    writer.write(Stream.STDOUT, b"0123456789")
    assert not writer.close().truncated
    log.close()


async def test_log_secret_across_writes_and_streams_never_reaches_disk(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    writer = log.writer(execution_id, secrets=[b"correct-horse", b"ab"])
    for part in (b"x" * 70_000, b"token=corr", b"ect-h", b"orse;", b"ab stays"):
        writer.write(Stream.STDOUT, part)
        writer.write(Stream.STDERR, b"correct-horse\n")
    writer.close()
    data = await read_all(log, execution_id, 1 << 20)
    assert b"correct-horse" not in data
    assert b"".join([c.data for c in await log.read(execution_id, 0, 1 << 20, Stream.STDOUT)]).endswith(
        b"token=[masked];ab stays"
    )
    for path in (tmp_path / "output").rglob("*"):
        assert not path.is_file() or b"ect-h" not in path.read_bytes()
    log.close()


async def test_writer_late_secret_is_masked_from_then_on(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    execution_id = ExecutionId.new()
    writer = log.writer(execution_id)
    writer.add_secrets([b"hunter22"])
    writer.write(Stream.STDOUT, b"hunter")
    writer.write(Stream.STDOUT, b"22")
    writer.close()
    assert joined(await log.read(execution_id)) == b"[masked]"
    log.close()


async def test_writer_full_disk_cuts_the_log_and_not_the_execution(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "files").write_text("in the way")
    (tmp_path / "output" / "packs").write_text("in the way")
    log = OutputLog(tmp_path / "output")
    for size in (10, 300_000):
        writer = log.writer(ExecutionId.new())
        writer.write(Stream.STDOUT, b"x" * size)
        writer.write(Stream.STDOUT, b"more")
        summary = writer.close()
        assert summary.truncated
        assert summary.kept_bytes == 0
        assert summary.total_bytes == size + 4
    log.close()


async def test_recover_torn_files_are_cut_to_what_both_know(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    writer = log.writer(execution_id)
    for number in range(4):
        writer.write(Stream.STDOUT if number % 2 else Stream.STDERR, bytes([65 + number]) * 100)
    writer.flush()
    base = file_base(tmp_path / "output", execution_id)
    for suffix, torn in (
        ("log", b"bytes that no record tells of"),
        ("idx", RECORD.pack(400, 1000, 1, 0)[:20]),
    ):
        path = Path(f"{base}.{suffix}")
        path.write_bytes(path.read_bytes() + torn)
    again = OutputLog(tmp_path / "output")
    assert again.recover(execution_id) == ("f", 400)
    assert Path(f"{base}.log").stat().st_size == 400
    assert Path(f"{base}.idx").stat().st_size == 4 * RECORD.size
    assert joined(await again.read(execution_id)) == b"A" * 100 + b"B" * 100 + b"C" * 100 + b"D" * 100
    again.close()
    log.close()


async def test_recover_without_files_has_no_log(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    assert log.recover(ExecutionId.new()) == (None, 0)


async def test_read_removed_output_says_so(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "output")
    ids = [ExecutionId.new(), ExecutionId.new()]
    for execution_id, size in zip(ids, (10, 100_000), strict=True):
        fill(log, execution_id, [(Stream.STDOUT, b"x" * size)])
    log.packs.close()
    for path in (tmp_path / "output").rglob("*"):
        if path.is_file():
            path.unlink()
    for execution_id in ids:
        with pytest.raises(OutputGone):
            await log.read(execution_id)
        with pytest.raises(OutputGone):
            await log.search(execution_id, "x")
    log.close()


async def test_pack_damaged_entry_is_gone_not_garbage(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    fill(log, execution_id, [(Stream.STDOUT, b"hello world")])
    (pack,) = (tmp_path / "output" / "packs").iterdir()
    raw = bytearray(pack.read_bytes())
    raw[-1] ^= 1
    pack.write_bytes(raw)
    with pytest.raises(OutputGone):
        await log.read(execution_id)
    log.close()


# -- search -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.text(alphabet="abAB ", max_size=12), max_size=60),
    needle=st.text(alphabet="abAB", min_size=1, max_size=3),
    fold=st.booleans(),
    large=st.booleans(),
)
async def test_search_any_text_finds_the_lines_that_python_finds(
    tmp_path: Path, lines: list[str], needle: str, fold: bool, large: bool
) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    if large:
        lines = [*lines, "-" * 700_000, *lines, "=" * 700_000, *lines]
    text = "\n".join(lines)
    fill(log, execution_id, [(Stream.STDOUT, text.encode())])
    wanted = [
        (number, line[:4096])
        for number, line in enumerate(text.split("\n"), 1)
        if (needle.lower() in line.lower() if fold else needle in line)
    ]
    found, cursor = [], None
    while True:
        page = await log.search(execution_id, needle, ignore_case=fold, limit=7, cursor=cursor)
        assert page.total == len(wanted)
        found += [(hit.line_number, hit.line) for hit in page.hits]
        for hit in page.hits:
            assert text.encode()[hit.offset :].startswith(hit.line.encode())
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == wanted
    log.close()


async def test_search_line_longer_than_memory_allows_is_counted_once(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    data = b"first\n" + b"a" * (3 << 20) + b"needle" + b"b" * (2 << 20) + b"needle\nlast needle\n"
    fill(log, execution_id, [(Stream.STDOUT, data)])
    page = await log.search(execution_id, "needle")
    assert [(hit.line_number, hit.offset) for hit in page.hits] == [
        (2, 6),
        (3, len(data) - len(b"last needle\n")),
    ]
    log.close()


async def test_search_live_log_sees_what_is_written_so_far(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "output")
    execution_id = ExecutionId.new()
    writer = log.writer(execution_id)
    writer.write(Stream.STDOUT, b"one needle\n")
    assert (await log.search(execution_id, "needle")).total == 1
    writer.write(Stream.STDOUT, b"z" * 70_000 + b"\ntwo NEEDLE\n")
    assert (await log.search(execution_id, "needle", ignore_case=True)).total == 2
    writer.write(Stream.STDERR, b"three needle")
    assert (await log.search(execution_id, "needle")).total == 2
    writer.close()
    log.close()


async def test_search_bad_question_is_refused(tmp_path: Path) -> None:
    log = OutputLog(tmp_path)
    for text, limit, cursor in (
        ("", 1, None),
        ("a\nb", 1, None),
        ("x" * 2000, 1, None),
        ("a", 0, None),
        ("a", 1, "%%"),
    ):
        with pytest.raises(InvalidArgument):
            await log.search(ExecutionId.new(), text, limit=limit, cursor=cursor)


# -- retention --------------------------------------------------------------------------------------------------


def aged(root: Path, matches: Callable[[Path], bool]) -> None:
    for path in root.rglob("*"):
        if path.is_file() and matches(path):
            os.utime(path, (1, 1))


async def test_sweep_by_age_removes_old_logs_and_keeps_open_ones(tmp_path: Path) -> None:
    root = tmp_path / "output"
    log = OutputLog(root, OutputOptions(retention_age=timedelta(days=1), retention_bytes=None))
    old, fresh, open_one, packed = (ExecutionId(f"{number:024x}") for number in range(1, 5))
    for execution_id in (old, fresh, open_one):
        fill(log, execution_id, [(Stream.STDOUT, b"x" * 100_000)], close=execution_id != open_one)
    fill(log, packed, [(Stream.STDOUT, b"small")])
    log.packs.close()
    log.packs.name = ""
    aged(root, lambda path: fresh not in path.name)
    (pack,) = (root / "packs").iterdir()
    pack.rename(pack.with_name("0" * 16))
    report = await log.sweep(utc_now())
    assert report.removed_files == 3
    left = {path.name for path in root.rglob("*") if path.is_file()}
    assert left == {f"{execution_id}.{kind}" for execution_id in (fresh, open_one) for kind in ("log", "idx")}
    log.close()


async def test_sweep_by_size_removes_the_oldest_first(tmp_path: Path) -> None:
    root = tmp_path / "output"
    log = OutputLog(root, OutputOptions(retention_age=None, retention_bytes=250_000))
    ids = [ExecutionId(f"{number * 0x1000:08x}{number:016x}") for number in range(1, 6)]
    for execution_id in ids:
        fill(log, execution_id, [(Stream.STDOUT, b"x" * 100_000)])
    report = await log.sweep(utc_now())
    assert report.kept_bytes <= 250_000
    left = sorted(path.stem for path in root.rglob("*.log"))
    assert left == [str(execution_id) for execution_id in ids[3:]]
    log.close()
