"""The ledger at a million executions: one page, and pages under filters, over HTTP."""

import time

from benchmarks import ledger_fill
from benchmarks.plan import Plan, serving
from benchmarks.report import Section, Times
from benchmarks.wire import Line, request

LIMIT_MS = 20
QUERIES = {
    "newest page of 50": "?limit=50",
    "by status": "?limit=50&status=failed",
    "by kind": "?limit=50&kind=exec",
    "by place": "?limit=50&place={place}",
    "by text in the command": "?limit=50&text=needle",
    "by time": "?limit=50&created_after=2026-01-01T00:00:00Z",
}


def measure(plan: Plan) -> list[Section]:
    """Fill a ledger while its server is down, then ask for pages."""
    section = Section(f"The ledger at {plan.ledger_rows:,} executions (p10 / p50 / p99)")
    with serving() as server:
        server.stop()
        ledger_fill.fill(server.data_dir, plan.ledger_rows)
        server.start()
        line = Line(server.port)
        headers = {"Authorization": f"Bearer {server.token}"}
        place = ledger_fill.PLACE
        for words, query in QUERIES.items():
            sent = request("GET", f"/runyard/v1/executions{query.format(place=place)}", None, headers)
            values = []
            for _ in range(30):
                began = time.perf_counter()
                line.call(sent)
                values.append(time.perf_counter() - began)
            times = Times(values)
            met = times.p50 * 1000 < LIMIT_MS
            section.add(words, str(times), "", f"p50 under {LIMIT_MS} ms", met)
    return [section]
