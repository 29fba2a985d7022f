"""Where the compiled agent comes from."""

import os
from pathlib import Path

import pytest

from runyard.kernel.errors import Unavailable
from runyard.runtimes.isolation.native import build
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.program import find_agent


def test_configured_agent_must_be_executable(tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\n")
    options = IsolationOptions(data_dir=tmp_path, agent_path=program)
    with pytest.raises(Unavailable):
        find_agent(options)
    program.chmod(0o755)
    assert find_agent(options) == program


def test_agent_is_compiled_once_for_the_same_sources(tmp_path: Path) -> None:
    options = IsolationOptions(data_dir=tmp_path / "data")
    try:
        first = find_agent(options)
    except Unavailable as error:
        pytest.skip(str(error))
    made = first.stat().st_mtime_ns
    assert find_agent(options) == first
    assert first.stat().st_mtime_ns == made
    assert os.access(first, os.X_OK)


def test_missing_compiler_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (build.FOLDER / build.PROGRAM).exists():
        pytest.skip("a compiled agent is packaged")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="install musl-tools or gcc"):
        find_agent(IsolationOptions(data_dir=tmp_path))
    with pytest.raises(Unavailable, match="no compiled agent"):
        find_agent(IsolationOptions(data_dir=tmp_path, compile_agent=False))


def test_agent_started_by_hand_says_so(tmp_path: Path) -> None:
    try:
        program = find_agent(IsolationOptions(data_dir=tmp_path))
    except Unavailable as error:
        pytest.skip(str(error))
    read, write = os.pipe()
    pid = os.posix_spawn(program, ["runyard-agent"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, write, 2)])
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert b"started by the Runyard server" in os.read(read, 1000)
    os.close(read)


def test_instance_is_equal_for_equal_folders_only(tmp_path: Path) -> None:
    one, same = IsolationOptions(data_dir=tmp_path), IsolationOptions(data_dir=tmp_path / "." / "x" / "..")
    assert one.instance == same.instance
    assert one.instance != IsolationOptions(data_dir=tmp_path / "other").instance
