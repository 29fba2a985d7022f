"""Sandboxes on bases that are not the host: bare directories, with whatever is missing or in the way."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from runyard.runtimes.isolation.engine import Engine, Network
from tests.support.engines import make_engine, new_spec, read_file, run, sh, why_unavailable, write_file

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _make_root(folder: Path) -> None:
    """Copy dash, cat, ls and what they load into a folder: no /dev, /proc, /etc, /root or /tmp."""
    for program in ("/bin/dash", "/bin/cat", "/bin/ls", "/usr/bin/id", "/usr/bin/mkdir"):
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        libraries = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
        for path in (program, *libraries):
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(path), target)
    (folder / "bin/sh").symlink_to("dash")


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the host that a base's links lead to."""
    return tmp_path_factory.mktemp("secret")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory, secret: Path) -> AsyncIterator[Engine]:
    """Start an engine with two directory bases."""
    folder = tmp_path_factory.mktemp("engine")
    if why := await why_unavailable(folder):
        pytest.skip(f"no namespaces engine on this host: {why}")
    bare, hostile = folder / "bare", folder / "hostile"
    for root in (bare, hostile):
        root.mkdir()
        root.chmod(0o755)
        _make_root(root)
    for name in ("proc", "dev", "sys"):
        (hostile / name).symlink_to(secret)
    made = make_engine("namespaces", folder / "data", directory_bases={"bare": bare, "hostile": hostile})
    await made.start()
    yield made
    await made.stop()


async def test_base_without_any_system_folder_gets_them(engine: Engine) -> None:
    sandbox = await engine.create(new_spec(base="dir:bare", hostname="tiny"))
    env = {"PATH": "/bin:/usr/bin"}
    result = await run(
        sandbox,
        "/bin/sh",
        "-c",
        "id -u; cat /etc/hostname /dev/null; ls -d /proc/self /dev/pts; pwd",
        env=env,
    )
    assert result.text.split() == ["0", "tiny", "/dev/pts", "/proc/self", "/root"], result
    await write_file(sandbox, "/new/file", b"written")
    assert (await run(sandbox, "cat", "/new/file", env=env)).out == b"written"
    assert b"tiny" in await read_file(sandbox, "/etc/hosts")
    await sandbox.destroy(keep_layer=False)


async def test_base_with_links_for_system_folders_gets_real_ones(engine: Engine, secret: Path) -> None:
    sandbox = await engine.create(new_spec(base="dir:hostile"))
    result = await run(sandbox, "/bin/sh", "-c", "ls -d /proc/self /dev/null", env={"PATH": "/bin"})
    assert result.text.split() == ["/dev/null", "/proc/self"]
    await sandbox.destroy(keep_layer=False)
    assert list(secret.iterdir()) == []


async def test_network_can_be_opened_and_cut_on_a_living_sandbox(engine: Engine) -> None:
    if not {c.name: c for c in engine.capabilities()}["network"].enforced:
        pytest.skip("this host cannot connect sandboxes")
    sandbox = await engine.create(new_spec())
    assert "eth0" not in (await run(sandbox, "cat", "/proc/net/dev")).text
    await sandbox.set_network(Network.OPEN)
    await sandbox.set_network(Network.OPEN)
    assert "eth0" in (await run(sandbox, "cat", "/proc/net/dev")).text
    assert (await sh(sandbox, "ip route | grep -c default")).text == "1"
    await sandbox.set_network(Network.NONE)
    assert "eth0" not in (await run(sandbox, "cat", "/proc/net/dev")).text
    await sandbox.set_network(Network.OPEN)
    assert "eth0" in (await run(sandbox, "cat", "/proc/net/dev")).text
    await sandbox.destroy(keep_layer=False)


async def test_network_open_from_the_start_is_there_for_the_first_command(engine: Engine) -> None:
    if not {c.name: c for c in engine.capabilities()}["network"].enforced:
        pytest.skip("this host cannot connect sandboxes")
    for base in ("host", "dir:bare"):
        sandbox = await engine.create(new_spec(base=base, network=Network.OPEN))
        env = {"PATH": "/bin:/usr/bin"}
        assert "eth0" in (await run(sandbox, "cat", "/proc/net/dev", env=env)).text
        await sandbox.destroy(keep_layer=False)
