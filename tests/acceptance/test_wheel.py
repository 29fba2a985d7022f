"""The wheel, built from the tree and installed in an empty environment, starts, serves and runs a command."""

import subprocess
import sys
from pathlib import Path

from tests.support.sdk import ROOT, uv
from tests.support.server import Server


def test_wheel_in_an_empty_environment_serves(tmp_path: Path) -> None:
    subprocess.run(
        [uv(), "build", "--wheel", "--out-dir", str(tmp_path / "dist")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    wheel = next((tmp_path / "dist").glob("runyard-*.whl"))
    home = tmp_path / "empty"
    subprocess.run([uv(), "venv", "--python", sys.executable, str(home)], check=True, capture_output=True)
    subprocess.run(
        [uv(), "pip", "install", "--python", str(home / "bin" / "python"), str(wheel)],
        check=True,
        capture_output=True,
    )
    server = Server(tmp_path / "served", command=[str(home / "bin" / "runyard"), "serve"])
    server.start()
    try:
        with server.api() as api:
            runtime = api.create(name="from-the-wheel")["id"]
            assert api.sh(runtime, "echo $((6*7))") == "42\n"
            api.get("/openapi.json").expect(200)
            api.get("/docs").expect(200)
    finally:
        server.close()
