"""Stand-ins for the two command-line clients of remote plans: what they send, when they poll, when they give up.

Written from observation of both: headers, queries, timings, the reconnect of the log stream, and their ways to end. They
know nothing of the server. `Hc` is the older client, `Unified` the newer one.
"""

import contextlib
import hashlib
import http.client
import io
import json
import tarfile
import threading
import time
import urllib.parse
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.http import Answer

STAGE_ACTIVE = {"Running", "Queued", "AsyncWaiting", "NotStarted"}
STAGE_FINAL = {"Success", "Failed", "IgnoreFailed"}
SKIPPED_STEPS = {
    "IACMIntegrationStageStepPMS", "IntegrationStageStepPMS", "NG_EXECUTION", "IACMPrepareExecution",
}  # fmt: skip
FAILED = {"Failed", "Errored", "Aborted", "AbortedByFreeze", "Expired", "ApprovalRejected", "RollbackFailed"}
LARGEST_EVENT = 64 * 1024


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """Pack files as a gzipped tar with relative names."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, text in files.items():
            data = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


BASE = "/iacm/api/orgs/default/projects/default"


def body(identifier: str, **more: object) -> dict[str, Any]:
    """Return the body that makes a workspace."""
    return {
        "identifier": identifier,
        "name": f"The {identifier}",
        "provisioner": "terraform",
        "provider_connector": "account.none",
        "terraform_variables": {},
        "environment_variables": {},
        **more,
    }


def refused(answer: Answer, status: int, name: str) -> str:
    """Assert a Goa error in the form that clients can read, and return its message."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    document = answer.json()
    assert set(document) == {"name", "id", "message", "temporary", "timeout", "fault"}
    assert (document["name"], answer.headers["goa-error"]) == (name, name)
    return str(document["message"])


class ApiError(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, body: bytes, content_type: str) -> None:
        """Keep what came."""
        super().__init__(f"{status} {body[:300]!r}")
        self.status = status
        self.body = body
        self.content_type = content_type

    @property
    def message(self) -> str:
        """What the older client prints: nothing unless the type is plain JSON."""
        if self.content_type.partition(";")[0] != "application/json":
            return ""
        return str(json.loads(self.body).get("message", ""))


@dataclass
class Outcome:
    """How a client ended."""

    code: int
    lines: list[str]
    error: str = ""
    seconds: float = 0.0


@dataclass
class Client:
    """What both share."""

    port: int
    token: str
    account: str = "default"
    org: str = "default"
    project: str = "default"
    workspace: str = ""
    host: str = "127.0.0.1"
    lines: list[str] = field(default_factory=list)
    remote: dict[str, Any] = field(default_factory=dict)
    executing: float = 0.0
    """When the call to execute began, on the clock of `time.perf_counter`."""

    def headers(self) -> dict[str, str]:
        """Return the headers of a call to the workspace service."""
        return {"X-Api-Key": self.token, "harness-account": self.account, "User-Agent": "client"}

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Any:
        """Make one call and return its document. Raises ApiError."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            given = {"Accept-Encoding": "gzip", **(self.headers() if headers is None else headers)}
            if method == "POST" and body is None:
                given["Content-Length"] = "0"
            connection.request(method, path, body=body, headers=given)
            answer = connection.getresponse()
            data = answer.read()
            if not 200 <= answer.status < 300:
                raise ApiError(answer.status, data, answer.getheader("content-type") or "")
            return json.loads(data) if data else None
        finally:
            connection.close()

    @property
    def base(self) -> str:
        """Return the path of the workspace."""
        return f"/gateway/iacm/api/orgs/{self.org}/projects/{self.project}/workspaces/{self.workspace}"

    def begin(self, archive: bytes, arguments: Mapping[str, Sequence[str]], content_type: str) -> None:
        """Do the calls up to the execution. Raises ApiError."""
        workspace = self.call("GET", self.base)
        plan = (workspace.get("default_pipelines") or {}).get("plan")
        if plan is None or (plan.get("workspace_pipeline") is None and plan.get("project_pipeline") is None):
            raise ApiError(0, b"{}", "no default pipeline")
        document = json.dumps(
            {"custom_arguments": {name: list(values) for name, values in arguments.items()}}
        )
        created = self.call(
            "POST", f"{self.base}/remote-executions", document.encode(),
            {**self.headers(), "Content-Type": "application/json"},
        )  # fmt: skip
        one = f"{self.base}/remote-executions/{created['id']}"
        digest = hashlib.sha256(archive).hexdigest()
        uploaded = self.call(
            "POST", f"{one}/upload", archive,
            {**self.headers(), "Content-Type": content_type, "Content-Digest": f"sha256={digest}"},
        )  # fmt: skip
        one = f"{self.base}/remote-executions/{uploaded['id']}"
        self.executing = time.perf_counter()
        self.remote = self.call("POST", f"{one}/execute")

    def events(
        self, path: str, headers: Mapping[str, str], timeout: float = 60
    ) -> Generator[tuple[str, str, str], None, None]:
        """Yield (event, data, id) of a stream until the connection ends. Raises ApiError for a wrong answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Accept": "text/event-stream", **headers})
            answer = connection.getresponse()
            if answer.status != 200 or answer.getheader("content-type") != "text/event-stream":
                raise ApiError(answer.status, answer.read(), answer.getheader("content-type") or "")
            data: list[str] = []
            event, last, size = "", "", 0
            while line := answer.readline():
                size += len(line)
                assert size < LARGEST_EVENT, "the client gives up on an event of 64 KiB"
                text = line.decode().rstrip("\n")
                if not text:
                    if data:
                        yield event, "\n".join(data), last
                    event, data, size = "", [], 0
                elif text.startswith("data: "):
                    data.append(text[6:])
                elif text.startswith("id: "):
                    last = text[4:]
                elif text.startswith("event: "):
                    event = text[7:]
        finally:
            connection.close()

    def shown(self, raw: str) -> None:
        """Print a line of a log."""
        document = json.loads(raw)
        assert set(document) >= {"level", "out", "time"}
        self.lines.append(str(document["out"]).strip())

    def poll(self, extra: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """Ask how far the pipeline is."""
        query = (
            f"accountIdentifier={self.account}&orgIdentifier={self.org}&projectIdentifier={self.project}"
            f"&renderFullBottomGraph=true{extra}"
        )
        path = f"/pipeline/api/pipelines/execution/v2/{self.remote['pipeline_execution_id']}?{query}"
        document = self.call("GET", path, headers=headers)
        assert document["status"] == "SUCCESS"
        data: dict[str, Any] = document["data"]
        return data


class Hc(Client):
    """The older client."""

    def plan(
        self, archive: bytes, arguments: Mapping[str, Sequence[str]] | None = None, limit: float = 60
    ) -> Outcome:
        """Run `iacm plan`. A failed plan still ends with 0."""
        started = time.monotonic()
        try:
            self.begin(archive, arguments or {}, "application/x-gzip")
        except ApiError as error:
            return Outcome(1, self.lines, error.message)
        log_token = self.log_token()
        readers: list[threading.Thread] = []
        try:
            code = self.follow(log_token, readers, time.monotonic() + limit)
        except TimeoutError as error:
            return Outcome(-1, self.lines, str(error))
        return Outcome(code, list(self.lines), seconds=time.monotonic() - started)

    def log_token(self) -> str:
        """Ask for the token of the log service, used to the letter."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        path = f"/gateway/log-service/token?accountID={self.account}&routingId={self.account}"
        connection.request("GET", path, headers=self.headers())
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200
        assert text.strip() == text
        return text

    def follow(self, log_token: str, readers: list[threading.Thread], deadline: float) -> int:
        """Poll as the client does: the stage within five seconds, then its steps, until the stage has ended."""
        stage_id = self.starting_stage()
        if stage_id is None:
            return 1
        seen: set[str] = set()
        pause = 3.0
        while True:
            if time.monotonic() > deadline:
                raise TimeoutError("the client would poll for ever")
            time.sleep(pause)
            data = self.poll(f"&stageNodeId={stage_id}", self.headers())
            status = data["pipelineExecutionSummary"]["layoutNodeMap"][stage_id]["status"]
            if status in STAGE_FINAL:
                return 0
            if status not in STAGE_ACTIVE:
                pause = 1.0
                continue
            pause = 1.0
            step = active_step(data["executionGraph"])
            if step is not None and step["uuid"] not in seen:
                seen.add(step["uuid"])
                key = step["executableResponses"][0]["async"]["logKeys"][0]
                reader = threading.Thread(target=self.read_log, args=(key, log_token), daemon=True)
                reader.start()
                readers.append(reader)

    def starting_stage(self) -> str | None:
        """Wait for the starting stage to run; None after five seconds, or when it has ended already."""
        begun = time.monotonic()
        while time.monotonic() - begun < 5:
            time.sleep(0.5)
            summary = self.poll("&stageNodeId=", self.headers())["pipelineExecutionSummary"]
            node = summary["layoutNodeMap"][summary["startingNodeId"]]
            if node["status"] == "Running":
                return str(node["nodeUuid"])
        return None

    def read_log(self, key: str, log_token: str) -> None:
        """Read the blob, else the stream, which is connected again after every end."""
        query = f"accountID={self.account}&key={urllib.parse.quote(key, safe='')}"
        headers = {"X-Harness-Token": log_token}
        with contextlib.suppress(ApiError):
            lines = self.blob(query, headers)
            for line in lines:
                self.shown(line)
            if lines:
                return
        last = ""
        for _ in range(20):
            more = {"Connection": "keep-alive", "Cache": "no-cache", **headers}
            if last:
                more["Last-Event-ID"] = last
            with contextlib.suppress(OSError, http.client.HTTPException, TimeoutError):
                for event, data, last in self.events(f"/gateway/log-service/stream?{query}", more):  # noqa: B007
                    if not event:
                        self.shown(data)
            time.sleep(0.5)

    def blob(self, query: str, headers: Mapping[str, str]) -> list[str]:
        """Read a blob. Raises ApiError."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        connection.request("GET", f"/gateway/log-service/blob?{query}", headers=dict(headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.status != 200:
            raise ApiError(answer.status, data, answer.getheader("content-type") or "")
        return data.decode().splitlines()


def active_step(graph: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Search depth first for the first active step that is not one of the skipped types."""
    waiting = [graph["rootNodeId"]]
    while waiting:
        node = graph["nodeMap"][waiting.pop(0)]
        if node["stepType"] not in SKIPPED_STEPS and node["status"] in STAGE_ACTIVE:
            found: Mapping[str, Any] = node
            return found
        adjacent = graph["nodeAdjacencyListMap"][node["uuid"]]
        waiting = [*adjacent["children"], *adjacent["nextIds"], *waiting]
    return None


class Unified(Client):
    """The newer client: no account header where it polls and reads logs, and an exit status that tells."""

    def plan(
        self, archive: bytes, arguments: Mapping[str, Sequence[str]] | None = None, limit: float = 60
    ) -> Outcome:
        """Run `execute workspace`."""
        try:
            self.begin(archive, arguments or {}, "application/octet-stream")
        except ApiError as error:
            return Outcome(1, self.lines, f"API error {error.status}: {error.message}")
        headers = {
            "x-api-key": self.token,
            "X-CLI-Command": "execute workspace",
            "X-Harness-CLI-Request": "3.3.0",
        }
        seen: set[str] = set()
        readers: list[threading.Thread] = []
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            data = self.poll("", headers)
            for node in data["executionGraph"]["nodeMap"].values():
                self.look(node, seen, readers)
            status = data["pipelineExecutionSummary"]["status"]
            if status == "Success" or status in FAILED:
                for reader in readers:
                    reader.join(5)
                word = {"Success": "", "Aborted": "execution aborted"}.get(status, "execution failed")
                return Outcome(0 if not word else 1, list(self.lines), word)
            time.sleep(2)
        return Outcome(-1, self.lines, "the client would poll for ever")

    def look(self, node: Mapping[str, Any], seen: set[str], readers: list[threading.Thread]) -> None:
        """Open the log of a step that runs."""
        for name in ("startTs", "endTs"):
            assert node[name] is None or isinstance(node[name], int)
        if node["stepType"] in SKIPPED_STEPS or node["uuid"] in seen or node["status"] != "Running":
            return
        seen.add(node["uuid"])
        key = node["executableResponses"][0]["async"]["logKeys"][0]
        reader = threading.Thread(target=self.read_log, args=(key,), daemon=True)
        reader.start()
        readers.append(reader)

    def read_log(self, key: str) -> None:
        """Read the stream until its end marker."""
        query = f"accountID={self.account}&key={urllib.parse.quote(key, safe='')}"
        for event, data, _ in self.events(f"/gateway/log-service/stream?{query}", {"x-api-key": self.token}):
            if event == "error" and data == "eof":
                return
            self.shown(data)
