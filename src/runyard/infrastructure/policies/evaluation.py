"""Evaluation of policies over many resources. Owns the bounds of time, and who is to blame when the helper process ends.

Blocking: use it in a thread. A policy that crashes the interpreter, hangs it or takes all memory is dropped and named, the
others go on. What could not be evaluated is never taken for innocent: the caller counts it as violated.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec

from runyard.infrastructure.policies.source import entrypoint, policy_module, shared_module
from runyard.kernel.jsons import encode_json
from runyard.runtimes.isolation.helper import Helper, HelperEnded

_HELPER: Final = "runyard.infrastructure.policies.evaluator"
_CHUNK: Final = 500
_CHUNK_BYTES: Final = 256 << 10
_LOAD_SECONDS: Final = 5.0
_MESSAGES: Final = 3
_MESSAGE_LENGTH: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """Bounds of one judgement."""

    total_seconds: float = 30.0
    """For all policies over all resources."""
    step_seconds: float = 2.0
    """For one policy over one resource."""


class Document(msgspec.Struct, frozen=True):
    """A resource as policies see it, and the indices of those that look at it."""

    input: Any
    policies: Sequence[int]


class Finding(msgspec.Struct, frozen=True):
    """A policy that a document violates, or that could not be evaluated for it."""

    number: int
    """Of the document, in the order in which they were fed."""
    policy: int
    message: str = ""
    failed: bool = False


class Evaluation:
    """One judgement by some policies. Use as a context manager."""

    def __init__(
        self, policies: Sequence[str], packages: Mapping[str, str], options: EvaluationOptions
    ) -> None:
        """Take the texts of policies, and of shared packages by name."""
        self._modules = {f"p{index}": policy_module(index, text) for index, text in enumerate(policies)}
        self._shared = {f"package {name}": shared_module(name, text) for name, text in packages.items()}
        self._options = options
        self._left = options.total_seconds
        self._deadline = 0.0
        self._helper: Helper | None = None
        self._fed = 0
        self._suspects: set[tuple[int, int]] = set()
        self.broken: dict[int, str] = {}
        """Policies that were dropped, and why."""

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the helper process."""
        self.close()

    def feed(self, documents: Sequence[Document]) -> list[Finding]:
        """Evaluate documents and return what was found; look at `broken` afterwards. Only the time in here counts."""
        began = time.monotonic()
        self._deadline = began + self._left
        try:
            return self._all(documents)
        finally:
            self._left -= time.monotonic() - began

    def _all(self, documents: Sequence[Document]) -> list[Finding]:
        waiting = list(enumerate(documents, self._fed))
        self._fed += len(documents)
        found: list[Finding] = []
        while waiting:
            size = _chunk_size(waiting)
            found += self._chunk(waiting[:size])
            waiting = waiting[size:]
        return found

    def check(self, document: Any) -> None:  # noqa: ANN401  any JSON
        """Load all and evaluate one document by all of them; look at `broken` afterwards."""
        for finding in self.feed([Document(document, range(len(self._modules)))]):
            if finding.failed:
                self.broken.setdefault(finding.policy, finding.message)

    def _chunk(self, documents: Sequence[tuple[int, Document]]) -> list[Finding]:
        found: list[Finding] = []
        while documents:
            documents = [
                (number, Document(one.input, left))
                for number, one in documents
                if (left := [index for index in one.policies if index not in self.broken])
            ]
            if not documents or not self._load():
                break
            try:
                return found + self._asked(documents)
            except HelperEnded as ended:
                self._helper = None
                number, policy = ended.position
                if not self._is_guilty(ended.position):
                    continue
                if policy >= 0:
                    self.broken[policy] = ended.message
                else:
                    # The document itself could not be taken: nobody looked at it.
                    blamed = [one for one in documents if one[0] == number] or documents
                    found += [
                        Finding(at, index, ended.message, failed=True)
                        for at, one in blamed
                        for index in one.policies
                    ]
                    documents = [one for one in documents if one not in blamed]
        return found

    def _is_guilty(self, position: tuple[int, int]) -> bool:
        """Tell whether it happened at the same place before: a process may also end by the hand of somebody else."""
        again = position in self._suspects
        self._suspects.add(position)
        return again

    def _asked(self, documents: Sequence[tuple[int, Document]]) -> list[Finding]:
        assert self._helper is not None
        request = {
            "numbers": [number for number, _ in documents],
            "documents": [{"input": one.input, "policies": list(one.policies)} for _, one in documents],
        }
        answer = msgspec.json.decode(self._ask(self._helper, request, self._options.step_seconds))
        found = [
            Finding(number, policy, _message(value))
            for number, policy, value in answer["found"]
            if value not in ([], {}, "")
        ]
        return found + [
            Finding(number, policy, text, failed=True) for number, policy, text in answer["failed"]
        ]

    def _ask(self, helper: Helper, request: object, step: float) -> bytes:
        return helper.ask(request, step_seconds=step, deadline=self._deadline)

    def _load(self) -> bool:
        """Have a helper with all policies that are left; tell whether there is one."""
        while self._helper is None:
            left = [index for index in range(len(self._modules)) if index not in self.broken]
            if not left:
                return False
            if time.monotonic() > self._deadline:
                self.broken |= dict.fromkeys(left, "the time for all policies is over")
                return False
            self._start(left)
        return True

    def _start(self, left: Sequence[int]) -> None:
        helper = Helper(_HELPER)
        try:
            answer = msgspec.json.decode(self._ask(helper, self._loading(left), _LOAD_SECONDS))
        except HelperEnded as ended:
            answer = {"error": ended.message}
        if not answer:
            self._helper = helper
            return
        helper.close()
        broken = {int(index): text for index, text in answer.get("broken", {}).items()}
        if "error" in answer:
            # They do not load together: keep those that load alone.
            broken = self._alone(left) if len(left) > 1 else {left[0]: answer["error"]}
            broken = broken or dict.fromkeys(left, answer["error"])
        self.broken |= broken

    def _alone(self, left: Sequence[int]) -> dict[int, str]:
        broken: dict[int, str] = {}
        for index in left:
            with Helper(_HELPER) as helper:
                try:
                    answer = msgspec.json.decode(self._ask(helper, self._loading([index]), _LOAD_SECONDS))
                except HelperEnded as ended:
                    answer = {"error": ended.message}
            if answer:
                broken[index] = answer.get("error") or next(iter(answer.get("broken", {}).values()))
        return broken

    def _loading(self, left: Sequence[int]) -> dict[str, Any]:
        return {
            "shared": self._shared,
            "modules": {index: self._modules[f"p{index}"] for index in left},
            "entrypoints": [
                entrypoint(index) if index in left else None for index in range(len(self._modules))
            ],
        }

    def close(self) -> None:
        """End the helper process."""
        if self._helper is not None:
            self._helper.close()
            self._helper = None


def _chunk_size(waiting: Sequence[tuple[int, Document]]) -> int:
    """Return how many documents go at once: memory of the helper and its answers stay bounded."""
    size = 0
    for count, (_, one) in enumerate(waiting[:_CHUNK], 1):
        size += len(encode_json(one.input))
        if size > _CHUNK_BYTES:
            return count
    return min(len(waiting), _CHUNK)


def _message(value: Any) -> str:  # noqa: ANN401  any JSON
    """Return what a rule says for itself: its text, or the first texts of a set or of the names of an object."""
    if isinstance(value, str):
        return value[:_MESSAGE_LENGTH]
    if isinstance(value, list | Mapping):
        texts = [one for one in value if isinstance(one, str)]
        return "; ".join(texts[:_MESSAGES])[:_MESSAGE_LENGTH]
    return ""
