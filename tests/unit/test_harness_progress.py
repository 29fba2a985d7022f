"""What a client of a remote plan is shown over time, and the lines of its log."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.dialects.harness.graph import execution_document
from runyard.dialects.harness.loglines import MAX_BYTES, Cut, Cutter
from runyard.dialects.harness.progress import DRAIN, LINGER, Ending, Progress, shown, step_end
from runyard.executions.output.model import Chunk, Stream

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ACTIVE = {"Running", "Queued", "AsyncWaiting", "NotStarted"}
FINAL_STAGES = {"Success", "Failed", "IgnoreFailed"}


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_stage_is_running_from_the_first_moment() -> None:
    view = shown(Progress(accepted_at=T0), T0)
    assert (view.step, view.stage, view.summary) == ("Running", "Running", "Running")


def test_short_run_stays_active_until_a_client_can_have_seen_it() -> None:
    quick = Progress(accepted_at=T0, ended_at=after(0.5), ending=Ending.SUCCESS)
    assert shown(quick, after(5.9)).step == "Running"
    assert shown(quick, after(6)).step == "Success"
    assert shown(quick, after(8.9)).stage == "Running"
    assert shown(quick, after(9)).stage == "Success"


def test_drained_log_ends_the_step_at_once_but_never_before_the_run() -> None:
    progress = Progress(accepted_at=T0, ended_at=after(1), ending=Ending.FAILED, drained_at=after(2))
    assert step_end(progress) == after(2)
    long = Progress(accepted_at=T0, ended_at=after(60), ending=Ending.FAILED, drained_at=after(30))
    assert step_end(long) == after(60)


@pytest.mark.parametrize("ending", Ending)
def test_stage_ends_only_in_words_that_every_client_takes_as_an_end(ending: Ending) -> None:
    progress = Progress(accepted_at=T0, ended_at=after(20), ending=ending)
    view = shown(progress, after(60))
    assert view.stage in FINAL_STAGES
    assert view.summary == ending.value


@given(
    st.floats(0, 40), st.one_of(st.none(), st.floats(0, 60)), st.sampled_from(Ending), st.floats(0, 100),
    st.floats(0, 100),
)  # fmt: skip
def test_what_is_shown_only_goes_forward(
    ended: float, drained: float | None, ending: Ending, one: float, other: float
) -> None:
    progress = Progress(
        accepted_at=T0,
        ended_at=after(ended),
        ending=ending,
        drained_at=None if drained is None else after(ended + drained),
    )
    earlier, later = (shown(progress, after(moment)) for moment in sorted((one, other)))
    for name in ("step", "stage", "summary"):
        was, now = getattr(earlier, name), getattr(later, name)
        assert was in ACTIVE or was == now
    assert (later.stage in ACTIVE) == (later.summary in ACTIVE)
    assert later.step in ACTIVE or later.step_ended_at is not None
    end = step_end(progress)
    assert end is not None
    assert after(ended) <= end <= max(after(ended), T0 + LINGER)
    assert shown(progress, end + DRAIN).stage not in ACTIVE


def test_document_has_what_clients_read_without_looking() -> None:
    document = execution_document(
        execution="e",
        org="o",
        project="p",
        pipeline="plan",
        log_key="k",
        progress=Progress(accepted_at=T0),
        now=T0,
    )
    summary, graph = document["pipelineExecutionSummary"], document["executionGraph"]
    node = summary["layoutNodeMap"][summary["startingNodeId"]]
    assert node["nodeUuid"] == summary["startingNodeId"]
    assert graph["nodeMap"]["plan"]["executableResponses"][0]["async"]["logKeys"] == ["k"]
    assert all(node["uuid"] == key for key, node in graph["nodeMap"].items())
    assert isinstance(summary["startTs"], int)
    assert summary["endTs"] is None


def chunks(parts: list[tuple[Stream, bytes]]) -> list[Chunk]:
    made, offset = [], 0
    for stream, data in parts:
        made.append(Chunk(offset, stream, T0, data))
        offset += len(data)
    return made


def cuts(given_chunks: list[Chunk]) -> list[Cut]:
    cutter = Cutter()
    found = [cut for chunk in given_chunks for cut in cutter.feed(chunk)]
    return [*found, *cutter.finish()]


def test_long_line_is_cut_below_the_limit_of_clients() -> None:
    found = cuts(chunks([(Stream.STDOUT, b"\x1b" * 70_000 + b"\n")]))
    assert len(found) == 9
    assert all(len(msgspec.json.encode(cut.line)) < 60_000 for cut in found)
    assert "".join(cut.line.out for cut in found) == "\x1b" * 70_000


PARTS = st.lists(
    st.tuples(
        st.sampled_from([Stream.STDOUT, Stream.STDERR]),
        st.one_of(
            st.binary(min_size=1, max_size=40),
            st.sampled_from([b"\n", b"ab\ncd\n", "é".encode() * 5000, b"x" * (MAX_BYTES + 3)]),
        ),
    ),
    max_size=8,
)


@given(PARTS, st.data())
def test_reader_that_comes_back_gets_each_line_once(
    parts: list[tuple[Stream, bytes]], data: st.DataObject
) -> None:
    whole = chunks(parts)
    found = cuts(whole)
    total = sum(len(part) for _, part in parts)
    assert [cut.line.pos for cut in found] == [0, *(cut.end for cut in found[:-1])][: len(found)]
    assert not found or found[-1].end == total
    if found:
        last = data.draw(st.sampled_from(found))
        rest = [
            Chunk(
                max(chunk.offset, last.end), chunk.stream, T0, chunk.data[max(0, last.end - chunk.offset) :]
            )
            for chunk in whole
            if chunk.end > last.end
        ]
        assert cuts(rest) == found[found.index(last) + 1 :]


def test_characters_are_not_cut_through() -> None:
    found = cuts(chunks([(Stream.STDOUT, ("a" + "é" * 9000).encode())]))
    assert "\ufffd" not in "".join(cut.line.out for cut in found)
