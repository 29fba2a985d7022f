"""Private networks and reading files out of a sandbox, on the real engine."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from runyard.kernel.errors import InvalidArgument, TooLarge
from runyard.runtimes.isolation.engine import Engine, Network, Sandbox
from tests.support.engines import new_spec, sh, start, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVE = "cd /tmp && echo here > index.html && exec python3 -m http.server 8000"
ASK = "curl -s -m 3 http://{}:8000/index.html"


@pytest_asyncio.fixture(loop_scope="module")
async def boxes(engine: Engine) -> AsyncIterator[list[Sandbox]]:
    made = [await engine.create(new_spec()) for _ in range(3)]
    yield made
    for one in made:
        await one.destroy(keep_layer=False)


async def _answers(address: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection(address, 8000)
    except OSError:
        return False
    writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
    text = await reader.read()
    writer.close()
    return b"here" in text


async def test_members_reach_each_other_by_name_and_nobody_else_does(
    engine: Engine, boxes: list[Sandbox]
) -> None:
    web, client, stranger = boxes
    network, other = await engine.make_network("one"), await engine.make_network("two")
    try:
        addresses = {"web": await network.join(web), "client": await network.join(client)}
        await other.join(stranger)
        for box in boxes:
            await box.set_hosts(addresses)
        server = await start(web, ["/bin/sh", "-c", SERVE])
        await until(lambda: _answers(addresses["web"]))
        assert (await sh(client, ASK.format("web"))).text == "here"
        assert (await sh(stranger, ASK.format("web"))).code != 0
        await stranger.set_network(Network.OPEN)
        assert (await sh(stranger, ASK.format("web"))).code != 0
        gateway = addresses["web"].rsplit(".", 1)[0]
        assert (await sh(client, f"curl -s -m 2 http://{gateway}.1:22/")).code != 0
        server.process.signal_group(9)
        await server.result()
    finally:
        await network.close()
        await other.close()


async def test_pack_of_a_hostile_tree_holds_only_plain_files(boxes: list[Sandbox]) -> None:
    box = boxes[0]
    await sh(
        box,
        "mkdir -p /out/in; echo a > /out/a; echo b > /out/in/b; ln -s /etc/passwd /out/link; mkfifo /out/fifo;"
        "ln -s /etc /out/folder; chmod 4755 /out/a; ln -s ../a /out/in/inner; ln -s in/../../etc /out/outer; ln -s ../../../../../etc/hostname /tmp/escape;"
        "ln -s .. /out/in/up; ln -s up/../etc/passwd /out/in/far; ln -s /out/in/b /out/in/whole;"
        "ln -s /out/in/../../etc/passwd /out/in/around; ln -s / /out/root; ln -s /outside /out/beside",
    )
    target = io.BytesIO()
    absent = await box.pack(["/out", "/nowhere", "/tmp/escape"], target, 1 << 20)
    target.seek(0)
    with tarfile.open(fileobj=target) as found:
        names = {item.name: item for item in found}
        inside = found.extractfile("tmp/escape")
        assert inside is not None
        assert inside.read() == b"box\n"
    inner = {f"out/in/{name}" for name in ("b", "inner", "up", "whole")}
    assert set(names) == {"out", "out/a", "out/in", *inner, "tmp/escape"}
    assert names["out/a"].mode == 0o755
    assert absent == ["/nowhere"]


async def test_pack_beyond_its_limit_is_refused(boxes: list[Sandbox]) -> None:
    box = boxes[0]
    await sh(box, "truncate -s 1G /root/huge")
    with pytest.raises(TooLarge):
        await box.pack(["/root"], io.BytesIO(), 1 << 20)
    await sh(box, "rm /root/huge; mkdir /root/many; cd /root/many; seq 110000 | xargs touch")
    with pytest.raises(TooLarge):
        await box.pack(["/root"], io.BytesIO(), 1 << 20)
    with pytest.raises(InvalidArgument):
        await box.pack(["/tmp/../etc"], io.BytesIO(), 1 << 20)
