"""What the SDK scripts share. Runs inside an environment that holds the vendor's SDK and nothing of ours.

A scenario is written once as a coroutine; `drive` runs it with the asynchronous client, or with the synchronous one
without any event loop, because then nothing in it ever suspends.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import runta  # type: ignore[import-not-found] # lives in an environment of its own

Options = dict[str, Any]
Case = Callable[[Any, Options], Awaitable[Any]]


async def got(value: Any) -> Any:
    """Return a value now, or wait for it when it is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def done(detached: Any) -> Any:
    """Return the result of a detached exec: a future of a thread, or a task."""
    return await detached if isinstance(detached, asyncio.Task) else detached.result()


async def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    """Return how a call was refused: the class, the status, the code and the text."""
    try:
        await got(call())
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises is the finding
        status, code = getattr(error, "status_code", None), getattr(error, "code", None)
        return {"class": type(error).__name__, "status": status, "code": code, "text": str(error)}
    return {"class": None}


def shown(result: Any) -> dict[str, Any]:
    """Turn the result of an exec into plain values."""
    return {
        "code": result.exit_code,
        "out": result.stdout.decode("latin-1"),
        "err": result.stderr.decode("latin-1"),
        "cut": [result.stdout_truncated, result.stderr_truncated],
        "seconds": result.duration,
    }


def drive(cases: dict[str, Case]) -> None:
    """Run the case that the command line names with the client that it names, and print the finding as JSON."""
    options: Options = json.loads(sys.argv[1])
    case = cases[options["case"]]

    async def run(client: Any) -> Any:
        try:
            return await case(client, options)
        finally:
            await got(client.close())

    async def run_async() -> Any:
        return await run(runta.AsyncRunta())

    if options["flavour"] == "async":
        found = asyncio.run(run_async())
    else:
        coroutine = run(runta.Runta())
        try:
            coroutine.send(None)
        except StopIteration as end:
            found = end.value
        else:
            raise RuntimeError("a synchronous scenario suspended")
    print(json.dumps(found))
