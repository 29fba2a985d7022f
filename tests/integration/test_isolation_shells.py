"""Waiting shells against `/bin/sh -c`: the same script both ways must leave the same."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from runyard.runtimes.isolation.engine import Engine, Sandbox, WarmShell
from tests.support.engines import (
    ENV,
    Result,
    drain,
    new_spec,
    run,
    sh,
    start,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sandbox(engine: Engine) -> AsyncIterator[Sandbox]:
    """Make one sandbox for all."""
    made = await engine.create(new_spec())
    await run(made, "mkdir", "-p", "/work/space here")
    await run(made, "true", cwd="/work/space here")
    yield made
    await made.destroy(keep_layer=False)


async def take(sandbox: Sandbox) -> WarmShell:
    """Take a shell, waiting for the pool to have one."""
    found: list[WarmShell] = []

    async def there() -> bool:
        shell = await sandbox.take_shell()
        if shell is not None:
            found.append(shell)
        return bool(found)

    await until(there)
    return found[0]


async def run_warm(
    sandbox: Sandbox, script: str, *, stdin: bytes = b"", env: dict[str, str] = ENV, cwd: str = "/root"
) -> Result | None:
    """Run a script in a waiting shell; None when it is not taken."""
    shell = await take(sandbox)
    readers = [asyncio.ensure_future(drain(fd)) for fd in (shell.stdout, shell.stderr)]
    taken = shell.run(script, env, cwd)
    if taken and stdin:
        with contextlib.suppress(BrokenPipeError):  # it may have ended without reading
            os.write(shell.stdin, stdin)
    os.close(shell.stdin)
    async with asyncio.timeout(30):
        ended = await shell.process.wait()
        out, err = [await reader for reader in readers]
    return Result(ended, out, err) if taken else None


SCRIPTS = [
    "",
    "echo hi",
    "exit 3",
    "false",
    "true; false; true",
    "(exit 5)",
    "if",
    "echo before\nif\necho after",
    "echo 'unterminated",
    'echo "unterminated $(',
    "echo a; }",
    "cat <<EOF\nno end of it $HOME",
    "cat <<'EOF'\n$HOME `x` 'y'\nEOF\necho after",
    "no-such-command-x",
    "no-such-command-x; echo $?",
    "/etc",
    "/no/such/thing",
    'echo "$0" $# "$*" $-',
    "echo $$ >/dev/null; echo $PPID",
    "echo ${x-unset} ${HOME}",
    "echo ${x?boom}; echo never",
    "set -u; echo $undefined; echo never",
    "set -e; false; echo never",
    "set -e; if false; then :; fi; echo here; false | true; echo there",
    "set -e\n(false)\necho never",
    "return 4; echo never",
    "break; continue; echo here",
    "trap 'echo bye $?' EXIT; exit 6",
    "trap 'echo caught' TERM; kill -TERM $$; echo after",
    "kill -9 $$",
    "kill -TERM $$",
    "exec echo replaced",
    "exec /bin/sh -c 'exit 9'",
    "exec 2>&1; echo x >&2",
    "cat; echo end",
    'read a; read b; echo "[$a][$b]"; cat',
    'while read line; do echo "> $line"; done',
    'f() { local v=1; echo "$v $1"; return 7; }; f arg; echo $?',
    "x=1\ny=2\n\n# comment\necho $((x + y))\n",
    "echo 'single '\\'' quote' \"double \\\" quote\" back\\\\slash",
    "printf '%s\\n' 'ümläut' \"日本\" '\u0081\u0088'",
    "echo a\\",
    "echo a \\\nb",
    "echo *",
    "pwd; cd /tmp; pwd; echo $OLDPWD; cd -",
    "env | sort",
    "ulimit -n; umask",
    "sleep 0.01 & wait; echo done $?",
    "echo out; echo err >&2",
    "ls /proc | grep -c xyz; jobs; hash",
    "alias ll='echo aliased'\nll\nunalias -a",
    "echo $LANG; export LANG=x; env | grep LANG",
    "for i in 1 2 3; do echo $i; done | tr '\\n' ,",
    "case x in x) echo matched;; esac",
    "echo `echo nested $(echo deep)`",
    "set -- a 'b c' d; echo $#; shift; echo \"$1\"",
    "shift; echo after",
    "cd /no/such/folder; echo $?",
    "readonly r=1; r=2; echo never",
    "eval 'echo evaluated'; . /no/such/file; echo never",
    "echo 'long' " + " ".join(f"word{n}" for n in range(2000)),
    "set -x; echo traced",
    "/bin/true && echo yes || echo no; ! true; echo $?",
    "ls /proc/self/fd 2>/dev/null | wc -l",
    "sh -c 'ls -l /dev/fd/ | wc -l'",
]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_script_in_a_waiting_shell_behaves_like_sh_c(sandbox: Sandbox, script: str) -> None:
    stdin = b"first\nsecond\nthird"
    cold = await sh(sandbox, script, stdin=stdin)
    warm = await run_warm(sandbox, script, stdin=stdin)
    if warm is None:
        assert "/proc" in script  # left to the ordinary way
        return
    assert (warm.exit, warm.out) == (cold.exit, cold.out)
    # The one known difference: the shell names the builtin that is at work.
    assert warm.err.replace(b" eval:", b"") == cold.err


async def test_environment_and_folder_of_a_waiting_shell_are_the_requests_own(sandbox: Sandbox) -> None:
    env = {
        **ENV,
        "A": "line\nbreak 'q' \"d\" $HOME `x` \\",
        "E": "",
        "B1": "ü",
        "a.b": "dropped by every dash",
    }
    script = "pwd; env -0; echo; echo $OLDPWD"
    cold = await sh(sandbox, script, env=env, cwd="/work/space here")
    warm = await run_warm(sandbox, script, env=env, cwd="/work/space here")
    assert warm is not None

    def parts(result: Result) -> list[list[bytes]]:
        return [sorted(line.split(b"\0")) for line in result.out.split(b"\n\n")]

    assert sorted(warm.out.replace(b"\n", b"\0").split(b"\0")) == sorted(
        cold.out.replace(b"\n", b"\0").split(b"\0")
    )


@pytest.mark.parametrize(
    ("script", "env", "cwd"),
    [
        ("echo $LINENO", {}, "/root"),
        ("cat /proc/$$/cmdline", {}, "/root"),
        ("pkill -f x", {}, "/root"),
        ("echo x", {"IFS": ":"}, "/root"),
        ("echo x", {"LD_PRELOAD": "/x"}, "/root"),
        ("echo x", {"PWD": "/root"}, "/root"),
        ("echo x", {}, "/never/entered"),
        ("echo " + "x" * 70_000, {}, "/root"),
        ("echo \0", {}, "/root"),
    ],
)
async def test_script_that_might_differ_is_left_to_the_cold_way(
    sandbox: Sandbox, script: str, env: dict[str, str], cwd: str
) -> None:
    assert await run_warm(sandbox, script, env=env, cwd=cwd) is None


async def test_background_child_of_a_waiting_shell_holds_no_script_descriptor(sandbox: Sandbox) -> None:
    script = "(sleep 300; echo) >/dev/null 2>&1 </dev/null & echo $!"
    warm = await run_warm(sandbox, script)
    assert warm is not None
    held = await sh(sandbox, f"ls -l /proc/{warm.text}/fd | grep -c pipe")
    assert held.text == "0"


async def test_shell_killed_while_it_waits_is_not_used(sandbox: Sandbox) -> None:
    shell = await take(sandbox)
    shell.process.signal_group(9)
    await shell.process.wait()
    assert shell.run("echo hi", ENV, "/root") is False
    for fd in (shell.stdin, shell.stdout, shell.stderr):
        os.close(fd)


async def test_script_given_to_a_shell_that_is_being_killed_still_runs_once(sandbox: Sandbox) -> None:
    for number in range(20):
        shell = await take(sandbox)
        readers = [asyncio.ensure_future(drain(fd)) for fd in (shell.stdout, shell.stderr)]
        killer = await start(sandbox, ["/bin/kill", "-9", str(shell.process.pid)])
        if number % 2:
            await killer.process.wait()
        taken = shell.run(f"echo ran >> /tmp/ran{number}; echo {number}", ENV, "/root")
        os.close(shell.stdin)
        ended = await shell.process.wait()
        out = await readers[0]
        await readers[1]
        await killer.result()
        ran = await sh(sandbox, f"cat /tmp/ran{number} 2>/dev/null | wc -l")
        if not taken:
            assert ran.text == "0"
        elif ended.signal is None:
            assert (ended.code, out, ran.text) == (0, b"%d\n" % number, "1")


async def test_massacre_before_every_script_does_not_touch_the_next(sandbox: Sandbox) -> None:
    for _ in range(20):
        await run_warm(sandbox, "kill -9 -1")
        result = await run_warm(sandbox, "echo alive")
        assert result is None or result.text == "alive"


async def test_shell_stopped_while_it_waits_goes_on(sandbox: Sandbox) -> None:
    shell = await take(sandbox)
    shell.process.signal_group(signal.SIGSTOP)
    assert shell.run("echo hi", ENV, "/root") is True
    os.close(shell.stdin)
    async with asyncio.timeout(10):
        assert (await shell.process.wait()).code == 0
    assert await drain(shell.stdout) == b"hi\n"
    os.close(shell.stderr)


async def test_shell_is_not_prepared_when_sh_is_another_program(engine: Engine) -> None:
    sandbox = await engine.create(new_spec())
    await run(sandbox, "cp", "--remove-destination", "/bin/bash", "/bin/sh")
    assert await sandbox.take_shell() is None
    await asyncio.sleep(0.3)
    assert await sandbox.take_shell() is None
    await sandbox.destroy(keep_layer=False)
