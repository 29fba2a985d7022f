"""Scenarios for the vendor's Python SDK 0.1.4, 0.1.21 and 0.2.5, synchronous and asynchronous. Our own code."""

import tempfile
import time
from pathlib import Path
from typing import Any

import runta  # type: ignore[import-not-found] # lives in an environment of its own
from common import Options, done, drive, got, refusal, shown


async def stop(runtime: Any) -> None:
    """Stop under either of its names."""
    await got(runtime.stop() if hasattr(runtime, "stop") else runtime.shutdown())


async def start(runtime: Any) -> None:
    """Start under either of its names."""
    await got(runtime.start() if hasattr(runtime, "start") else runtime.boot())


async def life(client: Any, options: Options) -> Any:
    """Create, find, pause, resume, resize, stop, start, delete."""
    found: dict[str, Any] = {"health": await got(client.health())}
    name = options["name"]
    runtime = await got(client.runtimes.create(name))
    found["name"] = runtime.name
    found["created"] = (await got(runtime.status())).value
    found["by_id"] = (await got(client.runtimes.get(runtime.id))).name
    found["by_name"] = (await got(client.runtimes.get(name))).id == runtime.id
    found["listed"] = runtime.id in [one.id for one in await got(client.runtimes.list())]
    found["listed_running"] = runtime.id in [
        one.id for one in await got(client.runtimes.list(status="running"))
    ]
    found["listed_paused"] = runtime.id in [
        one.id for one in await got(client.runtimes.list(status="paused"))
    ]
    twin = await got(client.runtimes.create(name))
    found["twin"] = twin.id != runtime.id
    await got(twin.delete())
    await got(runtime.exec("echo kept > /root/kept; setsid sleep 1000 >/dev/null 2>&1 & sleep 0.3"))
    await got(runtime.pause())
    found["paused"] = (await got(runtime.status())).value
    found["exec_paused"] = await refusal(lambda: runtime.exec("true"))
    await got(runtime.resume())
    found["resumed"] = (await got(runtime.status())).value
    found["process_kept"] = shown(await got(runtime.exec("pgrep -fx 'sleep 1000' | wc -l")))
    info = await got(runtime.resize_memory(600))
    found["resized"] = [info.resources.requests.memory_mib, info.resources.limits.memory_mib]
    await stop(runtime)
    found["stopped"] = (await got(runtime.status())).value
    found["exec_stopped"] = await refusal(lambda: runtime.exec("true"))
    await start(runtime)
    found["started"] = (await got(runtime.heartbeat())).value
    found["file_kept"] = shown(await got(runtime.exec("cat /root/kept; pgrep -fx 'sleep 1000' | wc -l")))
    await got(runtime.delete())
    found["gone"] = await refusal(lambda: client.runtimes.get(runtime.id))
    return found


async def execs(client: Any, options: Options) -> Any:
    """Run commands in every form."""
    runtime = await got(client.runtimes.create())

    async def run(*command: Any, **fields: Any) -> dict[str, Any]:
        return shown(await got(runtime.exec(*command, **fields)))

    try:
        return {
            "string": await run("echo a && echo b >&2"),
            "list": await run(["printf", "%s|", "x y", "z"]),
            "single": await run(["true"]),
            "env": await run('echo "$A"', env={"A": "1 2"}),
            "cwd": await run("pwd", cwd="/usr"),
            "cwd_list": await run(["pwd"], cwd="/usr/bin"),
            "cwd_missing": await run("pwd", cwd="/nowhere"),
            "stdin": await run(["wc", "-c"], stdin="a\0b\n" * 50_000),
            "stdin_bytes": await run(["cat"], stdin=b"bytes\n"),
            "cap": await run("head -c 5000 /dev/zero | tr '\\0' x; echo err >&2", max_output_bytes=1000),
            "timeout": await run("echo before; sleep 60 & sleep 60", timeout=1),
            "missing": await run(["no-such-program"]),
            "exit": await run("exit 7"),
            "killed": await run("kill -9 $$"),
            "home": await run('echo "$HOME $(id -u)"; pwd'),
        }
    finally:
        await got(runtime.delete())


async def many(client: Any, options: Options) -> Any:
    """Run commands beside each other, in the background and detached."""
    runtime = await got(client.runtimes.create())
    try:
        wrap = "setsid" if options["stream"] else "nohup"
        await got(runtime.exec(f"{wrap} sleep 777 >/dev/null 2>&1 & sleep 0.3; echo up"))
        alive = shown(await got(runtime.exec("pgrep -fx 'sleep 777' | wc -l")))
        began = time.monotonic()
        tasks = [runtime.exec_detached(f"sleep 2; echo {number}") for number in range(6)]
        outs = [shown(await done(task))["out"] for task in tasks]
        return {"alive": alive, "outs": outs, "seconds": time.monotonic() - began}
    finally:
        await got(runtime.delete())


async def files(client: Any, options: Options) -> Any:
    """Carry files and trees both ways."""
    found: dict[str, Any] = {}
    runtime = await got(client.runtimes.create())
    content = bytes(range(256)) * 4000
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        await got(runtime.files.write("/root/deep/er/a.bin", content))
        found["read"] = await got(runtime.files.read("/root/deep/er/a.bin")) == content
        found["read_cut"] = len(await got(runtime.files.read("/root/deep/er/a.bin", max_bytes=10)))
        await got(runtime.files.write("/root/run.sh", "#!/bin/sh\necho ran\n", executable=True))
        found["ran"] = shown(await got(runtime.exec(["/root/run.sh"])))
        (here / "up.bin").write_bytes(content)
        await got(runtime.files.upload(str(here / "up.bin"), "/root/up.bin"))
        found["uploaded"] = shown(await got(runtime.exec(["wc", "-c", "/root/up.bin"])))
        await got(runtime.files.download("/root/up.bin", str(here / "down.bin")))
        found["downloaded"] = (here / "down.bin").read_bytes() == content
        tree = here / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "one.txt").write_text("one\n")
        (tree / "sub" / "two.txt").write_text("two\n" * 20_000)
        await got(runtime.files.upload(str(tree), "/root/tree"))
        listing = await got(runtime.exec("cd /root && find tree -type f | sort | xargs wc -c"))
        found["tree_up"] = listing.stdout.decode()
        if options["trees_down"]:
            await got(runtime.files.download("/root/tree", str(here / "back")))
            found["tree_down"] = sorted(p.name for p in (here / "back").rglob("*.txt"))
        if hasattr(runtime.files, "download_dir_contents"):
            await got(runtime.files.download_dir_contents("/root/tree", str(here / "inside")))
            found["contents_down"] = (here / "inside" / "sub" / "two.txt").stat().st_size
        found["missing"] = await refusal(lambda: runtime.files.read("/root/none"))
    await got(runtime.delete())
    return found


async def checkpoints(client: Any, options: Options) -> Any:
    """Take a checkpoint, change the files, restore twice, delete."""
    found: dict[str, Any] = {}
    runtime = await got(client.runtimes.create(options["name"]))
    await got(runtime.files.write("/root/marker", "before"))
    taken = await got(runtime.checkpoints.create(name=f"{options['name']}-cp"))
    await got(runtime.files.write("/root/marker", "after"))
    found["name"] = taken.display_name
    found["state"] = (await got(client.checkpoints.get(taken.id))).state.value
    found["listed"] = taken.id in [one.id for one in await got(client.checkpoints.list())]
    found["own"] = taken.id in [one.id for one in await got(runtime.checkpoints.list())]
    twin = await got(runtime.restore(taken.id))
    found["twin_name"] = twin.name
    fork = await got(runtime.restore(taken.id, name="fork"))
    found["fork_name"] = fork.name
    found["markers"] = [(await got(one.files.read("/root/marker"))).decode() for one in (runtime, twin, fork)]
    for one in (runtime, twin, fork):
        await got(one.delete())
    await got(client.checkpoints.delete(taken.id))
    found["gone"] = await refusal(lambda: client.checkpoints.get(taken.id))
    return found


async def secrets(client: Any, options: Options) -> Any:
    """Set, read and delete a secret."""
    name, manager = options["name"], client.secrets
    put = manager.set if hasattr(manager, "set") else manager.create
    made = await got(put(name, "very-secret-value", cache_ttl_secs=60))
    read = await got(manager.get(name))
    listed = [one.display_name for one in await got(manager.list())]
    await got(manager.delete(name))
    left = [one.display_name for one in await got(manager.list())]
    return {
        "made": [made.display_name, made.cache_ttl_secs],
        "same": read.id == made.id,
        "shown": repr(read) + repr(made),
        "listed": name in listed,
        "left": name in left,
        "gone": await refusal(lambda: manager.get(name)),
    }


async def egress_old(client: Any, options: Options) -> Any:
    """Switch egress with the helpers of 0.1.4."""
    runtime = await got(client.runtimes.create())
    opened = await got(runtime.egress.get())
    await got(runtime.egress.enable())
    closed = await got(runtime.egress.get())
    listed = await refusal(lambda: runtime.egress.allow(["example.com"]))
    await got(runtime.egress.disable())
    again = await got(runtime.egress.get())
    await got(runtime.delete())
    return {"opened": opened, "closed": closed, "again": again, "hosts": listed}


async def egress_new(client: Any, options: Options) -> Any:
    """Switch egress with the policy of later versions."""

    def policy(mode: str, hosts: list[str]) -> Any:
        return runta.EgressPolicy(mode, **{"allowed_hosts" if mode == "allowlist" else "denied_hosts": hosts})

    runtime = await got(client.runtimes.create())
    modes = [(await got(runtime.egress.get())).mode]
    await got(runtime.egress.set_policy(policy("allowlist", [])))
    modes.append((await got(runtime.egress.get())).mode)
    refused = [
        await refusal(lambda: runtime.egress.set_policy(policy("allowlist", ["example.com"]))),
        await refusal(lambda: runtime.egress.set_policy(policy("denylist", ["example.com"]))),
    ]
    await got(runtime.egress.set_policy(policy("denylist", [])))
    modes.append((await got(runtime.egress.get())).mode)
    await got(runtime.delete())
    return {"modes": [getattr(mode, "value", mode) for mode in modes], "refused": refused}


async def sessions(client: Any, options: Options) -> Any:
    """Use the client-side sessions of 0.1.4."""
    runtime = await got(client.runtimes.create())
    session = await got(runtime.sessions.create())
    out = shown(await got(session.exec("echo in session")))
    listed = session.id in [one.id for one in await got(runtime.sessions.list())]
    await got(session.kill())
    await got(runtime.delete())
    return {"out": out, "listed": listed}


async def long_exec(client: Any, options: Options) -> Any:
    """Run one command for longer than the client waits for a silent answer, or while its connection is cut."""
    runtime = await got(client.runtimes.get(options["runtime"]))
    return shown(await got(runtime.exec(options["command"])))


async def bad_token(client: Any, options: Options) -> Any:
    """Use a token that no one made."""
    kind = runta.AsyncRunta if options["flavour"] == "async" else runta.Runta
    other = kind(token="rt_unknown")
    refused = await refusal(lambda: other.runtimes.list())
    await got(other.close())
    return refused


if __name__ == "__main__":
    drive(
        {
            "life": life,
            "execs": execs,
            "many": many,
            "files": files,
            "checkpoints": checkpoints,
            "secrets": secrets,
            "egress_old": egress_old,
            "egress_new": egress_new,
            "sessions": sessions,
            "long_exec": long_exec,
            "bad_token": bad_token,
        }
    )
