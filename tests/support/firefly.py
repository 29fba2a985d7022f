"""A small client of the Firefly API that sends what the published clients send. Owns their headers, log-in and the rules
by which they decide; knows nothing of what is tested.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.http import Answer, Api

AGENT: Final = {"User-Agent": "terraform-provider-firefly"}
GONE: Final = ("404", "not found")
"""Texts by which the published provider drops a resource from its state."""


@dataclass
class Firefly:
    """A client with a key pair, which logs in again when its token has ended."""

    api: Api
    access_key: str
    secret_key: str
    base: str = ""
    """A prefix of all paths."""
    _token: str = ""
    _expires: int = 0
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path and status of every call."""

    def login(self) -> dict[str, Any]:
        """Log in and return the answer."""
        body = {"accessKey": self.access_key, "secretKey": self.secret_key}
        answer: dict[str, Any] = (
            self.api.anonymous().request("POST", "/v2/login", body, AGENT).expect(200).json()
        )
        self._token, self._expires = answer["accessToken"], answer["expiresAt"]
        return answer

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Send one call; a body goes as JSON with its type, none goes without."""
        if time.time() >= self._expires:
            self.login()
        client = self.api.clone(self._token)
        answer = client.request(method, self.base + path, body, AGENT)
        client.close()
        self.asked.append((method, path.split("?")[0], answer.status))
        self.check_words(answer)
        return answer

    @staticmethod
    def check_words(answer: Answer) -> None:
        """Assert that a client which decides by the text of an error decides rightly."""
        if answer.status < 400:
            return
        text = answer.body.decode()
        document = answer.json()
        assert document["statusCode"] == answer.status
        assert document["message"]
        if answer.status == 404:
            assert "not found" in text
        else:
            assert not [word for word in GONE if word in text.lower()], text

    def get(self, path: str, status: int = 200) -> Any:
        """GET and parse."""
        return self.ask("GET", path).expect(status).json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        """POST and parse; None for an answer without a body."""
        return _parsed(self.ask("POST", path, body).expect(status))

    def put(self, path: str, body: Any, status: int = 200) -> Any:
        """PUT and parse."""
        return _parsed(self.ask("PUT", path, body).expect(status))

    def patch(self, path: str, body: Any, status: int = 200) -> Any:
        """PATCH and parse."""
        return _parsed(self.ask("PATCH", path, body).expect(status))

    def delete(self, path: str, body: Any = None, status: int = 204) -> Any:
        """DELETE, perhaps with a body, and parse."""
        return _parsed(self.ask("DELETE", path, body).expect(status))

    def root(self) -> str:
        """Return the id of the root project as the provider finds it."""
        found = self.get("/v2/runners/projects/list?pageSize=100&offset=0")["data"]
        return str(next(one["id"] for one in found if not one.get("parentId")))

    def workspace(self, name: str, **more: Any) -> dict[str, Any]:
        """Make a workspace with the body that the provider sends."""
        made: dict[str, Any] = self.post("/v2/runners/workspaces", workspace_body(name, **more), 201)
        return made


def workspace_body(name: str, **more: Any) -> dict[str, Any]:
    """Return the body of a creation as the provider sends it."""
    body: dict[str, Any] = {
        "runnerType": "firefly",
        "iacType": "opentofu",
        "workspaceName": name,
        "vcsId": "64f0c0ffee0123456789abcd",
        "repo": "acme/infra",
        "defaultBranch": "main",
        "vcsType": "github",
        "workDir": "net/prod",
        "variables": [],
        "execution": {
            "triggers": ["merge", "pull_request"],
            "applyRule": "manual",
            "terraformVersion": "1.9.1",
        },
    }
    return {**body, **more}


def _parsed(answer: Answer) -> Any:
    if answer.status == 204:
        assert answer.body == b""
        return None
    return answer.json()


def member_of(items: list[Mapping[str, Any]], name: str, value: str) -> Mapping[str, Any]:
    """Return the item of a list whose member has a value."""
    return next(item for item in items if item[name] == value)
