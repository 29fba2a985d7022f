"""A server that may not isolate: it serves the ledger, says why nothing runs, and refuses instead of pretending."""

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runyard
from tests.support.http import Api
from tests.support.server import free_port

TOKEN = "token-without-root"
NOBODY = 65534


def _command(port: int, folder: Path) -> list[str]:
    """Run the command as a user without rights, by an interpreter that this user can reach."""
    python = next(
        (path for path in ("/usr/bin/python3.11", "/usr/bin/python3", sys.executable) if _works(path)), None
    )
    if python is None:
        pytest.skip("no Python that a user without rights can run")
    serve = ["serve", "--port", str(port), "--data-dir", str(folder)]
    return [
        "setpriv",
        "--reuid",
        str(NOBODY),
        "--regid",
        str(NOBODY),
        "--clear-groups",
        python,
        "-m",
        "runyard.cli",
        *serve,
    ]


def _environment() -> dict[str, str]:
    folders = [
        str(Path(runyard.__file__).parents[1]),
        *(path for path in sys.path if path.endswith("site-packages")),
    ]
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "RUNYARD_ADMIN_TOKEN": TOKEN,
        "PYTHONPATH": ":".join(folders),
    }


def _works(python: str) -> bool:
    probe = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", python]
    probe += [
        "-c",
        f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}; import runyard.server.main",
    ]
    return (
        subprocess.run(probe, env=_environment(), capture_output=True, timeout=60, check=False).returncode
        == 0
    )


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = Path("/var/tmp") / f"runyard-nobody-{os.getpid()}"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    port = free_port()
    log = (tmp_path_factory.mktemp("nobody") / "log").open("wb")
    process = subprocess.Popen(_command(port, folder), env=_environment(), stdout=log, stderr=log, cwd="/")
    try:
        client = Api("127.0.0.1", port, TOKEN)
        _wait_until_served(process, port)
        yield client
        client.close()
    finally:
        process.terminate()
        process.wait(20)
        log.close()
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def _wait_until_served(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended instead of serving"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        finally:
            connection.close()
    raise AssertionError("the server did not answer")


def test_server_without_root_serves_the_ledger_and_refuses_runtimes(api: Api) -> None:
    assert api.get("/runyard/v1/executions").expect(200).json()["items"] == []
    ready = api.get("/runyard/v1/health/ready").expect(503).json()
    reasons = {check["name"]: check for check in ready["checks"]}
    assert reasons["engine namespaces"]["status"] == "failed"
    capabilities = api.get("/runyard/v1/capabilities").expect(200).json()["items"]
    assert [item["enforced"] for item in capabilities] == [False]
    assert "doctor" in capabilities[0]["fix"]
    refused = api.post("/v1/runtimes", {"name": "x"}).expect(409).json()["error"]
    assert refused["code"] == "failed_precondition"
    assert "cannot isolate" in refused["message"]
