"""What a hostile command can do inside a sandbox of the namespaces engine: to the host, to its limits, to its init."""

import asyncio
import ctypes
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation.engine import (
    Engine,
    Limits,
    OpenMode,
    Sandbox,
)
from tests.support.engines import (
    new_spec,
    read_file,
    run,
    sh,
    start,
    until,
    write_file,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
PYTHON = "/usr/bin/python3"


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(engine: Engine) -> AsyncIterator[Sandbox]:
    """Make a sandbox for one test."""
    made = await engine.create(new_spec(limits=Limits(memory_bytes=256 * MIB, pids=100)))
    yield made
    await made.destroy(keep_layer=False)


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /mnt",
        "mount --bind / /mnt",
        "mount -o remount,rw /proc/sys",
        "umount /proc/sys",
        "umount -l /proc",
        "unshare -m true",
        "unshare -U true",
        "unshare -Ur true",
        "unshare -n true",
        "unshare -p -f true",
        "nsenter -t 1 -m true",
        "mknod /tmp/sda b 8 0",
        "mknod /tmp/mem c 1 1",
        "chroot / mount -t proc proc /mnt",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo b > /proc/sysrq-trigger && test -s /proc/sysrq-trigger",
        "echo x > /sys/kernel/mm/transparent_hugepage/enabled",
        "dmesg",
        "hostname changed",
        "ip link set lo down",
        "date -s 2001-01-01",
        "cat /proc/1/environ",
        "ls /proc/1/root/",
        "ls /proc/1/fd/ | grep .",
        "cat /proc/1/mem",
        "head -c 1 /proc/kcore | grep .",
        "cat /proc/kallsyms | grep .",
        "swapoff -a; swapon /tmp/x",
        "renice -n -5 1",
        "chown 70000 /tmp",
    ],
)
async def test_command_that_reaches_for_the_host_fails(sandbox: Sandbox, command: str) -> None:
    result = await sh(sandbox, command)
    assert result.code != 0, result


SYSCALLS = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *args):
    ctypes.set_errno(0)
    result = libc.syscall(nr, *args)
    return 0 if result >= 0 else ctypes.get_errno()
buffer = ctypes.create_string_buffer(4096)
results = {
    'ptrace': call(101, 0, 0, 0, 0), 'bpf': call(321, 0, buffer, 128), 'keyctl': call(250, 0, -3, 0),
    'add_key': call(248, b'user', b'x', b'y', 1, -3), 'request_key': call(249, b'user', b'x', 0, 0),
    'perf_event_open': call(298, buffer, 0, -1, -1, 0), 'userfaultfd': call(323, 0),
    'io_uring_setup': call(425, 1, buffer), 'open_by_handle_at': call(304, -100, buffer, 0),
    'setns': call(308, 0, 0), 'unshare': call(272, 0x10000000), 'mount': call(165, b'a', b'/mnt', b'tmpfs', 0, 0),
    'fsopen': call(430, b'tmpfs', 0), 'open_tree': call(428, -100, b'/', 1), 'move_mount': call(429, 0, b'', 0, b'', 0),
    'pivot_root': call(155, b'/', b'/'), 'kexec': call(246, 0, 0, 0, 0), 'module': call(175, buffer, 0, b''),
    'reboot': call(169, 0xfee1dead, 672274793, 0, 0), 'syslog': call(103, 3, buffer, 100), 'iopl': call(172, 3),
    'clone_newuser': call(56, 0x10000000 | 17, 0, 0, 0, 0), 'process_vm_readv': call(310, 1, buffer, 1, buffer, 1, 0),
    'pidfd_getfd': call(438, 0, 0, 0), 'clone3': call(435, buffer, 88), 'x32': call(0x40000000 | 39),
}
print({name: errno.errorcode.get(value, value) for name, value in results.items()})
"""


async def test_system_calls_beyond_the_sandbox_are_refused(sandbox: Sandbox) -> None:
    if os.uname().machine != "x86_64" or not Path(PYTHON).exists():
        pytest.skip("the numbers are those of x86_64, called from the host's python3")
    result = await run(sandbox, PYTHON, "-c", SYSCALLS)
    answers = eval(result.text)
    absent = {"io_uring_setup", "clone3", "x32"}
    assert {name for name, answer in answers.items() if answer == "ENOSYS"} == absent
    assert {answer for name, answer in answers.items() if name not in absent} == {"EPERM"}


async def test_socket_families_beyond_ordinary_networking_are_refused(sandbox: Sandbox) -> None:
    if not Path(PYTHON).exists():
        pytest.skip("needs the host's python3")
    script = (
        "import socket\n"
        "for family in (40, 38, 17, 29, 30, 2, 10, 1, 16):\n"
        "    try: socket.socket(family, 2 if family == 2 else 3 if family == 16 else 1).close(); print(family, 'yes')\n"
        "    except OSError as error: print(family, 'no')\n"
    )
    result = await run(sandbox, PYTHON, "-c", script)
    answers = dict(line.split() for line in result.text.splitlines())
    assert {family for family, answer in answers.items() if answer == "yes"} == {"2", "10", "1", "16"}


async def test_typing_into_a_terminal_is_refused(sandbox: Sandbox) -> None:
    if not Path(PYTHON).exists():
        pytest.skip("needs the host's python3")
    script = "import fcntl, os, pty\nm, s = pty.openpty()\nfcntl.ioctl(s, 0x5412, b'x')"
    result = await run(sandbox, PYTHON, "-c", script)
    assert b"PermissionError" in result.err


async def test_host_files_processes_and_mounts_are_not_visible(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    assert (await run(sandbox, "cat", str(secret))).code != 0
    processes = (await sh(sandbox, "ls -d /proc/[0-9]* | wc -l")).text
    assert int(processes) < 10
    mounts = (await run(sandbox, "cat", "/proc/self/mountinfo")).text
    assert str(tmp_path.parent) not in mounts
    assert "ext4" not in mounts
    assert (await sh(sandbox, "ls /run/docker.sock /run/systemd /var/run/dbus 2>/dev/null")).text == ""
    assert (await sh(sandbox, "cat /etc/shadow | grep -c '\\$'")).text in ("0", "")


async def test_host_processes_cannot_be_signalled(sandbox: Sandbox) -> None:
    assert (await run(sandbox, "kill", "-0", str(os.getpid()))).code != 0


async def test_host_sockets_cannot_be_reached_without_a_network(sandbox: Sandbox) -> None:
    if not Path(PYTHON).exists():
        pytest.skip("needs the host's python3")
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as local:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        name = f"\0runyard-test-{os.getpid()}"
        local.bind(name)
        local.listen()
        script = (
            "import socket\n"
            f"for family, address in ((2, ('127.0.0.1', {tcp.getsockname()[1]})), (1, '\\0{name[1:]}')):\n"
            "    try: socket.socket(family).connect(address); print('connected')\n"
            "    except OSError: print('refused')\n"
        )
        assert (await run(sandbox, PYTHON, "-c", script)).text.split() == ["refused", "refused"]


async def test_setuid_program_gains_nothing(sandbox: Sandbox) -> None:
    script = (
        "cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id;"
        " setpriv --reuid 1000 --regid 1000 --clear-groups /tmp/id -u; grep NoNewPrivs /proc/self/status"
    )
    result = await sh(sandbox, script)
    assert result.text.split() == ["1000", "NoNewPrivs:", "1"]


async def test_capabilities_are_the_documented_ones_only(sandbox: Sandbox) -> None:
    status = (await run(sandbox, "grep", "^Cap", "/proc/self/status")).text
    values = {line.split()[0]: line.split()[1] for line in status.splitlines()}
    assert values["CapEff:"] == values["CapBnd:"] == values["CapPrm:"] == "00000000a00405fb"
    assert values["CapInh:"] == values["CapAmb:"] == "0" * 16


async def test_ordinary_root_work_inside_is_possible(sandbox: Sandbox) -> None:
    script = (
        "set -e; touch /usr/bin/mine /etc/mine; chown 1000:1000 /etc/mine; stat -c %u /etc/mine;"
        " mv /usr/share/doc /usr/share/doc2; mkdir /opt/x; chmod 700 /opt/x; mkfifo /tmp/f;"
        " setpriv --reuid 1000 --clear-groups id -u; cat /proc/sys/kernel/random/boot_id >/dev/null;"
        " cat /proc/uptime >/dev/null; test -c /dev/null; echo x >/dev/shm/x; nproc >/dev/null; echo fine"
    )
    result = await sh(sandbox, script)
    assert result.text.split() == ["1000", "1000", "fine"], result


async def test_changes_to_the_base_stay_in_one_sandbox(engine: Engine, sandbox: Sandbox) -> None:
    other = await engine.create(new_spec())
    assert (await sh(sandbox, "rm -rf /usr/share/doc /etc/passwd; echo x > /usr/bin/mine")).code == 0
    assert (await sh(other, "test -e /etc/passwd && ! test -e /usr/bin/mine")).code == 0
    assert Path("/etc/passwd").exists()
    assert not Path("/usr/bin/mine").exists()
    await other.destroy(keep_layer=False)


@pytest.mark.parametrize(
    "path",
    [
        "/proc/1/root/etc/passwd",
        "/proc/self/exe",
        "/proc/self/fd/3",
        "/proc/self/cwd/../etc/passwd",
        "/proc/self/mem",
        "/proc/self/environ",
        "/dev/fd/3",
        "/dev/stdin",
        "/dev/tty",
        "/dev/ptmx",
        "to-proc-root/etc/hostname",
    ],
)
async def test_file_paths_through_proc_and_devices_are_refused(sandbox: Sandbox, path: str) -> None:
    await sh(sandbox, "ln -s /proc/1/root to-proc-root")
    async with asyncio.timeout(5):
        with pytest.raises(RunyardError):
            await read_file(sandbox, path)
        with pytest.raises(RunyardError):
            await write_file(sandbox, path, b"x")


async def test_file_path_upwards_ends_at_the_sandbox_root(sandbox: Sandbox) -> None:
    await write_file(sandbox, "../../../../../../tmp/up", b"inside")
    assert (await run(sandbox, "cat", "/tmp/up")).text == "inside"
    assert not Path("/tmp/up").exists()
    await sh(sandbox, "ln -s /etc/shadow link; ln -s /../../../../etc/hostname up")
    assert b"box" in await read_file(sandbox, "up")


async def test_file_swapped_for_a_fifo_between_open_and_publish_is_replaced(sandbox: Sandbox) -> None:
    file = await sandbox.open_file("f", OpenMode.CREATE)
    os.write(file.fd, b"new")
    os.close(file.fd)
    await sh(sandbox, "mkfifo f")
    assert file.publication is not None
    async with asyncio.timeout(5):
        await file.publication.publish()
    assert await read_file(sandbox, "f") == b"new"


async def test_identity_files_replaced_by_traps_do_not_stop_a_new_life(engine: Engine) -> None:
    spec = new_spec(hostname="first")
    one = await engine.create(spec)
    await sh(
        one,
        "rm -f /etc/hosts /etc/hostname; mkfifo /etc/hosts; ln -s /dev/zero /etc/hostname; rm -rf /root /tmp",
    )
    await one.destroy(keep_layer=True)
    async with asyncio.timeout(10):
        two = await engine.create(spec)
    assert (await run(two, "cat", "/etc/hostname", cwd="/")).text == "first"
    await two.destroy(keep_layer=False)


async def test_kernel_objects_used_up_inside_are_not_charged_to_the_host(sandbox: Sandbox) -> None:
    if not Path(PYTHON).exists():
        pytest.skip("needs the host's python3")
    script = (
        "import ctypes, time\nlibc = ctypes.CDLL(None)\n"
        "made = [libc.inotify_init() for _ in range(900)]\nprint(made[-1], flush=True)\n"
        "open('/tmp/made', 'w').close()\ntime.sleep(1000)"
    )
    hog = await start(sandbox, [PYTHON, "-c", script])

    async def used_up() -> bool:
        return (await run(sandbox, "test", "-e", "/tmp/made")).code == 0

    await until(used_up)
    libc = ctypes.CDLL(None)
    mine = [libc.inotify_init() for _ in range(4)]
    assert min(mine) >= 0
    for fd in mine:
        os.close(fd)
    hog.process.signal_group(signal.SIGKILL)
    assert (await hog.result()).text == "-1"  # the sandboxes' own share is bounded
