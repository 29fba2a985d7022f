"""The helper process that evaluates Rego. Owns the interpreter; trusts nothing that it is sent.

Lines in: first `{"shared": {name: text}, "modules": {index: text}, "entrypoints": [path or null, ...]}`, answered `{}`, or
`{"broken": {index: text}}` or `{"error": text}`, after which it is of no use; then
`{"numbers": [n, ...], "documents": [{"input": ..., "policies": [index, ...]}]}`, answered
`{"found": [[n, index, value], ...], "failed": [[n, index, text], ...]}`.
"""

import json
import mmap
import os
import re
import sys
from typing import Any, BinaryIO

import msgspec
import regopy  # type: ignore[import-untyped]

from runyard.kernel.jsons import encode_json
from runyard.runtimes.isolation.confine import confine
from runyard.runtimes.isolation.helper import POSITION

OUT_OF_MEMORY = "it needs too much memory"
_LONGEST_ERROR = 300
_MESSAGE = re.compile(r"\(errormsg \d+:([^()]*)\)")
_UNKNOWN = re.compile(r"\AFunction not found: ")


def main() -> None:
    """Serve until the line is closed."""
    page = mmap.mmap(int(sys.argv[1]), 4096)
    regopy.Interpreter().query("1 + 1")  # whatever is loaded late is loaded now
    lines, out = sys.stdin.buffer, _own_output()
    confine(memory_bytes=384 << 20, cpu_seconds=120)
    serve = _Evaluation(page)
    for line in iter(lines.readline, b""):
        out.write(encode_json(serve(msgspec.json.decode(line))) + b"\n")
        out.flush()


def _own_output() -> BinaryIO:
    """Return the output for answers; the interpreter's library prints to descriptor 1, which is nobody's from now on."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "wb")


class _Evaluation:
    """The modules of one judgement and their bundle."""

    def __init__(self, page: mmap.mmap) -> None:
        self._page = page
        self._rego = regopy.Interpreter()
        self._bundle: Any = None
        self._entrypoints: list[str | None] = []

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._evaluate(request) if "documents" in request else self._load(request)

    def _load(self, request: dict[str, Any]) -> dict[str, Any]:
        self._entrypoints = request["entrypoints"]
        broken: dict[str, str] = {}
        try:
            for name, text in request["shared"].items():
                self._rego.add_module(name, text)
            for index, text in request["modules"].items():
                try:
                    self._rego.add_module(f"p{index}", text)
                except regopy.RegoError as error:
                    broken[index] = plain(str(error))
            if not broken:
                self._bundle = self._rego.build(None, [one for one in self._entrypoints if one])
        except regopy.RegoError as error:
            return {"error": plain(str(error))}
        return {"broken": broken} if broken else {}

    def _evaluate(self, request: dict[str, Any]) -> dict[str, Any]:
        found, failed = [], []
        for number, document in zip(request["numbers"], request["documents"], strict=True):
            POSITION.pack_into(self._page, 0, number, -1)
            self._rego.set_input(document["input"])
            for index in document["policies"]:
                POSITION.pack_into(self._page, 0, number, index)
                value, error = self._value(self._entrypoints[index])
                if error:
                    failed.append((number, index, error))
                elif value is not None and value is not False:
                    found.append((number, index, value))
        return {"found": found, "failed": failed}

    def _value(self, entrypoint: str | None) -> tuple[Any, str]:
        try:
            shown = str(self._rego.query_bundle_entrypoint(self._bundle, entrypoint))
        except regopy.RegoError as error:
            return None, plain(str(error))
        except json.JSONDecodeError as error:
            # The library parses what the interpreter says as an answer, and that is an error.
            return None, plain(error.doc)
        if shown == "undefined":
            return None, ""
        try:
            answer = msgspec.json.decode(shown)
        except msgspec.DecodeError:
            return None, plain(shown)
        expressions = answer.get("expressions") or [None]
        return expressions[0], ""


def plain(error: str) -> str:
    """Return what people need of an error of the interpreter, which shows its whole tree."""
    if "std::bad_alloc" in error:
        return OUT_OF_MEMORY
    messages = [_UNKNOWN.sub("there is no function ", one) for one in dict.fromkeys(_MESSAGE.findall(error))]
    return "; ".join(messages)[:_LONGEST_ERROR] or " ".join(error.split())[:_LONGEST_ERROR]


if __name__ == "__main__":
    main()
