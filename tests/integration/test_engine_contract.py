"""The contract of the isolation port, for every engine. What only an isolating engine promises is in
test_isolation_attacks.py.
"""

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from runyard.kernel.errors import AlreadyExists, InvalidArgument, NotFound
from runyard.runtimes.isolation.engine import (
    Command,
    Engine,
    OpenMode,
    Sandbox,
    SandboxGone,
    SpawnError,
    SpawnFailure,
)
from runyard.runtimes.isolation.sandbox import NamespaceSandbox
from tests.support.engines import (
    ENV,
    SECONDS,
    drain,
    make_engine,
    new_spec,
    read_file,
    run,
    sh,
    start,
    why_unavailable,
    write_file,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["namespaces", "process"])
async def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    """Start each engine once."""
    folder = tmp_path_factory.mktemp("engine")
    if request.param == "namespaces" and (why := await why_unavailable(folder)):
        pytest.skip(f"no namespaces engine on this host: {why}")
    made = make_engine(request.param, folder)
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(engine: Engine) -> AsyncIterator[Sandbox]:
    """Make a sandbox for one test."""
    made = await engine.create(new_spec())
    yield made
    await made.destroy(keep_layer=False)


async def test_spawn_true_and_false_return_their_codes(sandbox: Sandbox) -> None:
    assert (await run(sandbox, "true")).exit.code == 0
    assert (await run(sandbox, "false")).exit.code == 1
    assert (await sh(sandbox, "exit 42")).exit.code == 42


async def test_spawn_output_goes_to_the_given_descriptors(sandbox: Sandbox) -> None:
    result = await sh(sandbox, "echo out; echo err >&2")
    assert (result.out, result.err) == (b"out\n", b"err\n")


async def test_spawn_environment_is_the_whole_environment(sandbox: Sandbox) -> None:
    env = {"PATH": ENV["PATH"], "A": "line\nbreak 'quote' \"double\" $x \\", "EMPTY": "", "Ü": "ß"}
    result = await run(sandbox, "env", "-0", env=env)
    assert dict(item.split("=", 1) for item in result.out.decode().split("\0")[:-1]) == env


async def test_spawn_looks_programs_up_in_the_path_of_its_environment(sandbox: Sandbox) -> None:
    await sh(sandbox, "mkdir -p bin; printf '#!/bin/sh\\necho mine\\n' > bin/uname; chmod +x bin/uname")
    where = (await sh(sandbox, "pwd")).text
    assert (await run(sandbox, "uname", env={"PATH": f"{where}/bin:/usr/bin:/bin"})).text == "mine"
    assert (await run(sandbox, "uname", env={})).text == "Linux"


async def test_spawn_unknown_program_is_not_found(sandbox: Sandbox) -> None:
    for name in ("no-such-program", "/no/such/program", "./nothing"):
        with pytest.raises(SpawnError) as caught:
            await run(sandbox, name)
        assert caught.value.reason is SpawnFailure.NOT_FOUND


async def test_spawn_file_without_execute_bit_or_folder_is_not_executable(sandbox: Sandbox) -> None:
    await write_file(sandbox, "plain", b"echo hi\n")
    where = (await sh(sandbox, "pwd")).text
    for name in (f"{where}/plain", "/etc"):
        with pytest.raises(SpawnError) as caught:
            await run(sandbox, name)
        assert caught.value.reason is SpawnFailure.NOT_EXECUTABLE


async def test_spawn_missing_folder_is_bad_cwd(sandbox: Sandbox) -> None:
    with pytest.raises(SpawnError) as caught:
        await run(sandbox, "true", cwd="/no/such/folder")
    assert caught.value.reason is SpawnFailure.BAD_CWD


async def test_spawn_nul_and_empty_argv_are_refused(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidArgument):
        await run(sandbox, "echo", "a\0b")
    with pytest.raises(InvalidArgument):
        await run(sandbox, "true", env={"A=B": "c"})
    with pytest.raises(InvalidArgument):
        await run(sandbox)


async def test_spawn_huge_arguments_arrive_whole(sandbox: Sandbox) -> None:
    big = "x" * 100_000
    result = await run(sandbox, "/bin/sh", "-c", 'echo "${#1} ${#2} ${#3}"', "sh", big, big, big)
    assert result.text == "100000 100000 100000"
    script = "\n".join(f"v{i}=word{i}" for i in range(6000)) + '\necho "$v5999"'
    assert len(script) > 80_000
    assert (await sh(sandbox, script)).text == "word5999"


async def test_spawn_one_argument_too_large_fails_for_resources(sandbox: Sandbox) -> None:
    with pytest.raises(SpawnError) as caught:
        await run(sandbox, "echo", "x" * 200_000)
    assert caught.value.reason is SpawnFailure.RESOURCES
    assert (await run(sandbox, "true")).code == 0


async def test_stdin_is_read_to_its_end(sandbox: Sandbox) -> None:
    assert (await run(sandbox, "cat", stdin=b"hello\0world")).out == b"hello\0world"


async def test_output_of_many_megabytes_arrives_whole(sandbox: Sandbox) -> None:
    result = await run(sandbox, "head", "-c", str(20 << 20), "/dev/zero")
    assert len(result.out) == 20 << 20


async def test_output_can_be_reopened_by_its_dev_name(sandbox: Sandbox) -> None:
    result = await sh(sandbox, "echo one > /dev/stderr; echo two > /dev/stdout; cat /dev/stdin")
    assert (result.out, result.err) == (b"two\n", b"one\n")


async def test_exit_by_signal_tells_the_signal(sandbox: Sandbox) -> None:
    result = await sh(sandbox, "kill -TERM $$; sleep 10")
    assert (result.exit.code, result.exit.signal) == (None, signal.SIGTERM)
    assert result.exit.shell_code == 143


async def test_commands_start_with_no_signal_ignored_or_blocked(sandbox: Sandbox) -> None:
    result = await run(sandbox, "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")
    found = {int(line.split()[1], 16) for line in result.text.splitlines()}
    if isinstance(sandbox, NamespaceSandbox):
        assert found == {0}
        return
    # What this process itself ignores (SIGHUP under nohup) passes through the engine that isolates nothing.
    status = Path("/proc/self/status").read_text().splitlines()
    ignored = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn"))
    assert all(bits & ~ignored == 0 for bits in found)


async def test_commands_inherit_no_descriptor_of_the_server(sandbox: Sandbox) -> None:
    result = await sh(sandbox, "ls /proc/self/fd | tr '\\n' ' '")
    assert result.text.split() == ["0", "1", "2", "3"]  # 3 is ls reading the folder


async def test_signal_group_reaches_children_of_the_command(sandbox: Sandbox) -> None:
    running = await start(sandbox, ["/bin/sh", "-c", "sleep 1000 & echo started; wait"])
    await asyncio.sleep(0.05)
    running.process.signal_group(signal.SIGTERM)
    assert (
        await running.result()
    ).exit.signal == signal.SIGTERM  # the pipes closed, so the child is dead too
    running.process.signal_group(signal.SIGTERM)  # nobody there: nothing


async def test_wait_by_several_callers_answers_all_even_when_one_is_cancelled(sandbox: Sandbox) -> None:
    running = await start(sandbox, ["cat"])
    waiters = [asyncio.create_task(running.process.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    running.close_stdin()
    assert [(await waiter).code for waiter in waiters[1:]] == [0, 0]
    assert (await running.process.wait()).code == 0
    await running.result()


async def test_background_child_survives_its_command(sandbox: Sandbox) -> None:
    result = await sh(sandbox, "sleep 300 >/dev/null 2>&1 & echo $!")
    assert (await run(sandbox, "kill", "-0", result.text)).code == 0


async def test_fifty_commands_at_once_all_answer(sandbox: Sandbox) -> None:
    results = await asyncio.gather(*(sh(sandbox, f"echo {n}; exit {n}") for n in range(50)))
    assert [result.exit.code for result in results] == list(range(50))
    assert [result.text for result in results] == [str(n) for n in range(50)]


async def test_cancelled_spawn_leaves_the_sandbox_usable(sandbox: Sandbox) -> None:
    for _ in range(20):
        task = asyncio.create_task(run(sandbox, "sleep", "0.01"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (await run(sandbox, "true")).code == 0


async def test_terminal_is_a_controlling_terminal_with_a_size(sandbox: Sandbox) -> None:
    master, slave = await sandbox.open_terminal()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 123, 0, 0))
    process = await sandbox.spawn(
        Command(
            argv=[
                "/bin/sh",
                "-c",
                "stty size; tty >/dev/null && echo yes; : </dev/tty && echo own; stty -a >&2",
            ],
            env=ENV,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            tty=True,
        )
    )
    os.close(slave)
    reader = asyncio.ensure_future(drain(master))
    assert (await process.wait()).code == 0
    lines = (await reader).decode().split()
    assert lines[:4] == ["40", "123", "yes", "own"]


async def test_terminal_interrupt_key_and_resize_reach_the_foreground(sandbox: Sandbox) -> None:
    master, slave = await sandbox.open_terminal()
    script = (
        "trap 'stty size; exit 7' WINCH; trap 'echo interrupted' INT; echo go; while :; do sleep 0.05; done"
    )
    process = await sandbox.spawn(
        Command(argv=["/bin/sh", "-c", script], env=ENV, stdin=slave, stdout=slave, stderr=slave, tty=True)
    )
    os.close(slave)
    keep = os.dup(master)
    output = bytearray()
    loop = asyncio.get_running_loop()
    os.set_blocking(master, False)

    async def until(text: bytes) -> None:
        async with asyncio.timeout(SECONDS):
            while text not in output:
                ready = loop.create_future()
                loop.add_reader(master, ready.set_result, None)
                await ready
                loop.remove_reader(master)
                output.extend(os.read(master, 4096))

    await until(b"go")
    os.write(keep, b"\x03")
    await until(b"interrupted")
    fcntl.ioctl(keep, termios.TIOCSWINSZ, struct.pack("HHHH", 11, 22, 0, 0))
    await until(b"11 22")
    assert (await process.wait()).code == 7
    os.close(keep)
    os.close(master)


async def test_file_written_and_published_is_read_back(sandbox: Sandbox) -> None:
    await write_file(sandbox, "deep/er/file.bin", b"\0\1\2" * 1000)
    assert await read_file(sandbox, "deep/er/file.bin") == b"\0\1\2" * 1000
    assert await read_file(sandbox, "/root/deep/er/file.bin") == b"\0\1\2" * 1000
    assert (await sh(sandbox, "stat -c %a deep/er/file.bin; ls -A deep/er")).text == "644\nfile.bin"


async def test_file_is_not_seen_before_publish_and_gone_after_discard(sandbox: Sandbox) -> None:
    await write_file(sandbox, "f", b"old")
    file = await sandbox.open_file("f", OpenMode.CREATE)
    os.write(file.fd, b"new")
    os.close(file.fd)
    assert await read_file(sandbox, "f") == b"old"
    assert file.publication is not None
    await file.publication.discard()
    assert (await sh(sandbox, "ls -A; cat f")).text.endswith("f\nold")
    assert ".runyard" not in (await sh(sandbox, "ls -A")).text


async def test_file_replaced_keeps_its_mode(sandbox: Sandbox) -> None:
    await sh(sandbox, "echo x > tool; chmod 750 tool")
    await write_file(sandbox, "tool", b"y")
    assert (await sh(sandbox, "stat -c %a tool; cat tool")).text == "750\ny"


async def test_file_written_through_a_link_changes_its_target(sandbox: Sandbox) -> None:
    await sh(sandbox, "mkdir d; echo x > d/target; ln -s d/target link; ln -s d/later dangling")
    await write_file(sandbox, "link", b"new")
    await write_file(sandbox, "dangling", b"made")
    result = await sh(sandbox, "cat d/target; readlink link; cat d/later; readlink dangling")
    assert result.text == "newd/target\nmaded/later"


async def test_file_that_is_missing_is_not_found(sandbox: Sandbox) -> None:
    for path in ("nothing", "no/such/file", "/etc/passwd/x"):
        with pytest.raises(NotFound):
            await read_file(sandbox, path)


@pytest.mark.parametrize(
    "path", ["folder", "fifo", "/dev/zero", "/dev/null", "", "x" * 5000, "a\0b", "folder/"]
)
async def test_file_that_is_not_regular_is_refused_without_waiting(sandbox: Sandbox, path: str) -> None:
    await sh(sandbox, "mkdir folder; mkfifo fifo")
    async with asyncio.timeout(5):
        with pytest.raises((InvalidArgument, NotFound)):
            await read_file(sandbox, path)
        with pytest.raises(InvalidArgument):
            await write_file(sandbox, path, b"x")


async def test_file_behind_a_loop_of_links_is_refused(sandbox: Sandbox) -> None:
    await sh(sandbox, "ln -s a b; ln -s b a")
    with pytest.raises(InvalidArgument):
        await read_file(sandbox, "a")


async def test_destroy_ends_processes_and_everything_waiting(engine: Engine) -> None:
    sandbox = await engine.create(new_spec())
    running = await start(sandbox, ["sleep", "1000"])
    waiting = asyncio.create_task(running.process.wait())
    await asyncio.sleep(0)
    await sandbox.destroy(keep_layer=False)
    await sandbox.destroy(keep_layer=False)
    assert "destroyed" in await sandbox.wait_gone()
    outcome = (await asyncio.gather(waiting, return_exceptions=True))[0]
    assert isinstance(outcome, SandboxGone) or getattr(outcome, "signal", None) == signal.SIGKILL
    with pytest.raises(SandboxGone):
        await sandbox.spawn(Command(argv=["true"], stdin=0, stdout=1, stderr=2))
    with pytest.raises(SandboxGone):
        await sandbox.open_file("x", OpenMode.READ)
    running.close_stdin()
    await asyncio.gather(running.result(), return_exceptions=True)


async def test_kill_returns_when_everything_is_dead_and_destroy_still_frees(engine: Engine) -> None:
    sandbox = await engine.create(new_spec())
    running = await start(sandbox, ["sleep", "600"])
    before = sandbox.gone
    await sandbox.kill()
    assert (before, sandbox.gone) == (False, True)
    with pytest.raises(SandboxGone):
        await sandbox.spawn(Command(argv=["true"], stdin=0, stdout=1, stderr=2))
    await sandbox.kill()
    await sandbox.destroy(keep_layer=False)
    running.close_stdin()
    await asyncio.gather(running.result(), return_exceptions=True)


async def test_port_inside_is_answered_from_outside(sandbox: Sandbox) -> None:
    with await sandbox.listen() as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        script = (
            "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
            "s.sendall(b'from inside'); print(s.recv(99).decode())"
        )
        loop = asyncio.get_running_loop()
        running = asyncio.ensure_future(run(sandbox, "/usr/bin/python3", "-c", script, str(port)))
        connection, _ = await asyncio.wait_for(loop.sock_accept(listener), SECONDS)
        with connection:
            assert await asyncio.wait_for(loop.sock_recv(connection, 99), SECONDS) == b"from inside"
            await loop.sock_sendall(connection, b"from outside")
        result = await running
    assert (result.exit.code, result.out) == (0, b"from outside\n"), result.err


async def test_home_is_where_commands_find_the_files_of_root(sandbox: Sandbox) -> None:
    await write_file(sandbox, "/root/.kept/note", b"here")
    assert (await run(sandbox, "cat", f"{sandbox.home}/.kept/note")).out == b"here"


async def test_create_of_a_living_id_is_refused(engine: Engine, sandbox: Sandbox) -> None:
    with pytest.raises(AlreadyExists):
        await engine.create(new_spec(id=sandbox.id))


async def test_create_with_unknown_base_or_checkpoint_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.create(new_spec(base="no-such-base"))
    with pytest.raises(NotFound):
        await engine.create(new_spec(restore_from="no-such-checkpoint"))


async def test_kept_layer_comes_back_with_its_files(engine: Engine) -> None:
    spec = new_spec()
    first = await engine.create(spec)
    await write_file(first, "kept", b"still here")
    await first.destroy(keep_layer=True)
    second = await engine.create(spec)
    assert await read_file(second, "kept") == b"still here"
    await second.destroy(keep_layer=False)
    third = await engine.create(spec)
    with pytest.raises(NotFound):
        await read_file(third, "kept")
    await third.destroy(keep_layer=True)
    await engine.delete_layer(spec.id)
    await engine.delete_layer(spec.id)


async def test_checkpoint_restores_files_as_they_were(engine: Engine) -> None:
    source = await engine.create(new_spec())
    await write_file(source, "f", b"before")
    checkpoint = f"checkpoint-{source.id}"
    await engine.capture(source.id, checkpoint)
    await write_file(source, "f", b"after")
    await source.destroy(keep_layer=False)
    restored = await engine.create(new_spec(restore_from=checkpoint))
    assert await read_file(restored, "f") == b"before"
    await restored.destroy(keep_layer=False)
    await engine.delete_checkpoint(checkpoint)
    await engine.delete_checkpoint(checkpoint)
    with pytest.raises(NotFound):
        await engine.capture("no-such-sandbox", "x")


async def test_checkpoints_are_listed_by_their_beginning(engine: Engine) -> None:
    sandbox = await engine.create(new_spec())
    await sandbox.destroy(keep_layer=True)
    for name in ("made-of-a", "made-of-b", "other"):
        await engine.capture(sandbox.id, name)
    await engine.delete_layer(sandbox.id)
    assert list(engine.captured("made-of-")) == ["made-of-a", "made-of-b"]
    for name in ("made-of-a", "made-of-b", "other"):
        await engine.delete_checkpoint(name)
    assert not engine.captured("made-of-")


async def test_capabilities_name_what_is_enforced_and_how_to_fix_the_rest(engine: Engine) -> None:
    found = {capability.name: capability for capability in engine.capabilities()}
    assert {"process isolation", "memory limit", "pids limit", "cpu limit", "disk limit", "network"} <= set(
        found
    )
    assert found["process isolation"].enforced == (engine.name == "namespaces")
    assert all(capability.how for capability in found.values())
    assert all(capability.fix for capability in found.values() if not capability.enforced)


async def test_shared_folder_is_shown_and_kept_as_it_is(engine: Engine, tmp_path: Path) -> None:
    """A program of a shared folder runs, also in a sandbox that comes back; what an isolating engine shows cannot be
    written.
    """
    tmp_path.chmod(0o755)
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\necho it works\n")
    program.chmod(0o755)
    spec = replace(new_spec(), shared={"tools": tmp_path})
    for _ in range(2):
        made = await engine.create(spec)
        ended = await sh(made, f"{made.home}/tools/tool; echo bad > {made.home}/tools/new; true")
        assert ended.out == b"it works\n"
        await made.destroy(keep_layer=True)
    await engine.delete_layer(spec.id)
    if engine.name == "namespaces":
        assert [path.name for path in tmp_path.iterdir()] == ["tool"]
