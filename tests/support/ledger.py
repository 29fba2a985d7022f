"""The native API as tests read it. Owns paths, paging and the reading of live logs; judges nothing."""

import base64
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.support.http import Api
from tests.support.server import Server

ROOT = "/runyard/v1"
TERMINAL = {"succeeded", "failed", "timeout", "canceled", "abandoned"}


def pages(api: Api, path: str, **query: object) -> Iterator[dict[str, Any]]:
    """Yield the items of all pages of a native list."""
    cursor: dict[str, str] = {}
    while True:
        document = api.get(f"{ROOT}/{path}?{urlencode({'limit': 200, **query, **cursor})}").expect(200).json()
        yield from document["items"]
        if not document.get("next_cursor"):
            return
        cursor = {"cursor": document["next_cursor"]}


def executions(api: Api, **query: object) -> list[dict[str, Any]]:
    """Return all executions under a filter, newest first."""
    return list(pages(api, "executions", **query))


def output(api: Api, execution: str, offset: int = 0) -> bytes:
    """Return what a log holds from an offset on."""
    found = b""
    while True:
        query = urlencode({"offset": offset, "limit": 1 << 20})
        document = api.get(f"{ROOT}/executions/{execution}/output?{query}").expect(200).json()
        for chunk in document["items"]:
            found += base64.b64decode(chunk["data_base64"])
        following = document.get("next_offset")
        if following is None or following <= offset:
            return found
        offset = following


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    id: str
    data: str

    def chunk(self) -> bytes:
        """Return the bytes of an output event."""
        return base64.b64decode(json.loads(self.data)["data_base64"])


def live(
    server: Server, execution: str, *, last_id: str | None = None, offset: int | None = None
) -> Iterator[Event]:
    """Follow a log over server-sent events until its `end`, or the end of the connection."""
    query = f"?offset={offset}" if offset is not None else ""
    head = f"GET {ROOT}/executions/{execution}/output/live{query} HTTP/1.0\r\nHost: x\r\n"
    head += f"Authorization: Bearer {server.token}\r\nAccept: text/event-stream\r\n"
    head += f"Last-Event-ID: {last_id}\r\n" if last_id else ""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(f"{head}\r\n".encode())
        with connection.makefile("rb") as lines:
            status = lines.readline()
            assert b" 200 " in status, status
            while lines.readline().strip():
                pass
            yield from parse(lines)


def parse(lines: Any) -> Iterator[Event]:
    """Cut a stream of lines into events; comments and chunk sizes are skipped."""
    fields: dict[str, str] = {}
    for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if fields:
                event = Event(fields.get("event", "message"), fields.get("id", ""), fields.get("data", ""))
                yield event
                if event.name == "end":
                    return
            fields = {}
            continue
        name, colon, value = line.partition(":")
        if colon and name:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
