"""The served OpenAPI document, and a walk over it with made-up input that must never end in a fault of the server."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.http import Api
from tests.support.server import Server

EXAMPLES = 3
SECONDS = 600


def test_openapi_lists_both_generations_and_the_native_api(api: Api) -> None:
    document = api.get("/openapi.json").expect(200).json()
    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    for path in ("/healthz", "/v1/runtimes", "/v2/runtimes", "/runyard/v1/executions"):
        assert path in paths, sorted(paths)
    assert any(path.endswith("/exec") for path in paths)


def test_docs_viewer_works_offline(api: Api) -> None:
    page = api.anonymous().get("/docs").expect(200)
    assert b"<html" in page.body.lower()
    assert b"https://cdn" not in page.body
    assert b"//unpkg" not in page.body


def test_metrics_are_served(api: Api, shared: str) -> None:
    api.sh(shared, "true")
    text = api.get("/metrics").expect(200).body.decode()
    assert "runyard_" in text


@pytest.mark.timeout(SECONDS + 60)
def test_schemathesis_finds_no_server_error(fresh_server: Callable[..., Server], tmp_path: Path) -> None:
    server = fresh_server()  # it deletes whatever it finds, so it gets a server of its own
    # 501 is the documented answer of what is published and not implemented here; any other 5xx is a fault.
    expected = 'expected-statuses = ["2xx", "3xx", "4xx", "501"]\n'
    (tmp_path / "schemathesis.toml").write_text(f"[checks.not_a_server_error]\n{expected}")
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{server.url}/openapi.json"]
    command += ["--checks", "not_a_server_error", "--seed", "1", "--max-examples", str(EXAMPLES)]
    command += ["--header", f"Authorization: Bearer {server.token}", "--workers", "1", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "20"]
    # Two of these would end the token in use, after which every call is only refused. One filter: several must all match.
    command += ["--exclude-path-regex", "exec/stream|output/live|/metrics|auth/token|tokens/.token"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert server.api().get("/runyard/v1/whoami").status == 200, (
        "the walk lost its token and only saw refusals"
    )
