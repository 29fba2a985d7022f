"""Finding what not everybody may read, by the compiled agent."""

import os
import shutil
from pathlib import Path

import pytest

from runyard.runtimes.isolation.scan import Scan
from tests.support.agent import compiled_agent


@pytest.fixture
def agent() -> Path:
    program = compiled_agent()
    if program is None:
        pytest.skip("no C compiler")
    return program


def test_unreadable_paths_are_found_and_never_entered(agent: Path, tmp_path: Path) -> None:
    for name in ("open", "open/deep", "closed", "skipped", "noenter", "open/skipped"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        (tmp_path / name / "private").touch(0o600)
    (tmp_path / "closed").chmod(0o750)
    (tmp_path / "noenter").chmod(0o754)
    (tmp_path / "open/private").chmod(0o711)
    (tmp_path / "open/link").symlink_to("/etc/shadow")
    (tmp_path / "open/folders").symlink_to("/")
    (tmp_path / "open/of two\nlines").touch(0o600)
    os.mkfifo(tmp_path / "open/pipe")
    with Scan(agent, tmp_path, ["skipped", "open/skipped"]) as scan:
        found = [str(path) for path in scan.unreadable()]
    assert sorted(found) == [
        "closed", "noenter", "open/deep/private", "open/of two\nlines", "open/pipe", "open/private",
    ]  # fmt: skip


def test_scan_of_more_than_a_pipe_holds_is_whole(agent: Path, tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:0200}").touch(0o600)
    with Scan(agent, tmp_path) as scan:
        assert len(scan.unreadable()) == 3000


def test_scan_that_nobody_reads_ends_with_its_context(agent: Path, tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number:0200}").touch(0o600)
    with Scan(agent, tmp_path) as scan:
        pid = scan._process.pid
    assert not Path(f"/proc/{pid}").exists()


def test_scan_of_what_is_no_folder_says_which_and_why(agent: Path, tmp_path: Path) -> None:
    with Scan(agent, tmp_path / "absent") as scan, pytest.raises(OSError, match=r"absent.*No such file"):
        scan.unreadable()


def test_path_too_long_is_no_silent_gap(agent: Path, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=folder)
            inner = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
    finally:
        os.close(folder)
    with Scan(agent, tmp_path) as scan, pytest.raises(OSError, match="too long"):
        scan.unreadable()
    shutil.rmtree(tmp_path / ("d" * 250))
