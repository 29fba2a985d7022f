"""The metrics and the page that lists them."""

import re
from datetime import timedelta
from pathlib import Path

from runyard.executions.model import Execution, Kind, NewExecution, Status, requested
from runyard.kernel.clock import utc_now
from runyard.kernel.ids import AccountId, ProjectId
from runyard.server.metrics import Metrics, reference_page

REPOSITORY = Path(__file__).parents[3]


def execution(**fields: object) -> Execution:
    import msgspec

    new = NewExecution(
        account_id=AccountId.new(),
        project_id=ProjectId.new(),
        project_path="/x/",
        kind=Kind.EXEC,
        name="true",
        actor="admin",
        door="test",
    )
    return msgspec.structs.replace(requested(new, utc_now()).value, **fields)


def test_reference_page_equals_the_published_one() -> None:
    assert (REPOSITORY / "docs" / "metrics.md").read_text() == reference_page(), "run `make docs`"


def test_reference_page_lists_every_name_that_is_rendered() -> None:
    metrics = Metrics()
    metrics.observe_request("native", "thing", 200, 0.1)
    metrics.observe_execution(execution(status=Status.SUCCEEDED))
    page = reference_page()
    for name in re.findall(r"^# TYPE (\S+)", metrics.render().decode(), re.MULTILINE):
        assert f"`{name}`" in page


def test_observe_execution_counts_by_kind_and_status() -> None:
    metrics = Metrics()
    took = timedelta(milliseconds=40).total_seconds() * 1000
    metrics.observe_execution(execution(status=Status.SUCCEEDED, duration_ms=took, output_bytes=7))
    metrics.observe_execution(execution(status=Status.CANCELED, output_bytes=1))
    page = metrics.render().decode()
    assert 'runyard_executions_ended_total{kind="exec",status="succeeded"} 1.0' in page
    assert 'runyard_executions_ended_total{kind="exec",status="canceled"} 1.0' in page
    assert "runyard_output_bytes_total 8.0" in page
    assert 'runyard_execution_seconds_count{kind="exec"} 1.0' in page
    assert 'runyard_execution_seconds_bucket{kind="exec",le="0.025"} 0.0' in page
    assert 'runyard_execution_seconds_bucket{kind="exec",le="0.05"} 1.0' in page


def test_read_gives_the_value_at_the_time_of_the_scrape() -> None:
    metrics = Metrics()
    values = iter([3.0, 4.0])
    metrics.read("runyard_sandboxes", lambda: next(values))
    assert b"runyard_sandboxes 3.0" in metrics.render()
    assert b"runyard_sandboxes 4.0" in metrics.render()
