"""http-request: one HTTP request from the server. Owns which hosts it may reach and the shape of the answer.

The client speaks for the server, so its time, its redirects and the size of what it takes are bounded here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2

from runyard import __version__
from runyard.actions.errors import InvalidParameters
from runyard.actions.runners.job import Job, canceled, failed, outcome
from runyard.actions.runners.outward import Outward, judged
from runyard.actions.values import Json
from runyard.executions.model import Outcome, Status
from runyard.executions.output.model import Stream
from runyard.executions.worker import RunContext

DEFAULT_TIMEOUT: Final = 60.0
LARGEST_BODY: Final = 14 << 20
_REDIRECTS: Final = 10


class HttpRunner:
    """Sends requests."""

    def __init__(self, *, block_private: bool = False) -> None:
        """Take whether private addresses are out of reach."""
        self._block_private = block_private

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Send the request of the job. Raises InvalidParameters for a host that it may not reach."""
        given = {**job.given.runner, **job.given.action}
        url = str(given.get("url") or "")
        lists = given.get("url_hosts_blacklist") or [], given.get("url_hosts_whitelist") or []
        check_host(url, *lists)

        async def check_redirect(request: httpx2.Request) -> None:
            check_host(str(request.url), *lists)

        timeout = given.get("timeout")
        limit = float(timeout) if isinstance(timeout, int | float) else DEFAULT_TIMEOUT
        try:
            options = await _options(given, limit, block_private=self._block_private)
            async with httpx2.AsyncClient(**options, event_hooks={"request": [check_redirect]}) as client:
                request = client.build_request(**_request(job, given, url))
                return await self._sent(client, request, given, context)
        except httpx2.TimeoutException as error:
            return outcome(Status.TIMEOUT, {"error": str(error) or "the request timed out"})
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return failed(str(error) or type(error).__name__)

    async def _sent(
        self,
        client: httpx2.AsyncClient,
        request: httpx2.Request,
        given: Mapping[str, Json],
        context: RunContext,
    ) -> Outcome:
        auth = (str(given["username"]), str(given.get("password") or "")) if given.get("username") else None
        follow = given.get("allow_redirects") is True
        answer = await client.send(request, auth=auth, follow_redirects=follow, stream=True)
        body = bytearray()
        try:
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > LARGEST_BODY:
                    return failed(f"the answer has more than {LARGEST_BODY} bytes")
                if context.cancelled.is_set():
                    return canceled(context)
        finally:
            await answer.aclose()
        context.output.write(Stream.STDOUT, bytes(body))
        text = bytes(body).decode(answer.encoding or "utf-8", "replace")
        parsed, value = _parsed(answer.headers.get("content-type", ""), text)
        result = {
            "status_code": answer.status_code,
            "body": value,
            "parsed": parsed,
            "headers": dict(answer.headers),
        }
        good = 200 <= answer.status_code <= 206
        return outcome(Status.SUCCEEDED if good else Status.FAILED, result)


def check_host(url: str, refused: Sequence[Json], allowed: Sequence[Json]) -> None:
    """Refuse a host by the lists of the action. Raises InvalidParameters."""
    if refused and allowed:
        raise InvalidParameters(
            '"url_hosts_blacklist" and "url_hosts_whitelist" parameters are mutually exclusive. '
            "Only one should be provided."
        )
    try:
        # By the parser of the client: where two of them differ, one of the lists could be got round.
        host = httpx2.URL(url if "://" in url else f"http://{url}").host
    except httpx2.InvalidURL:
        raise InvalidParameters(f'URL "{url}" is not valid') from None
    if host in [str(one).lower() for one in refused]:
        raise InvalidParameters(f'URL "{url}" is blacklisted')
    if allowed and host not in [str(one).lower() for one in allowed]:
        raise InvalidParameters(f'URL "{url}" is not whitelisted')


async def _options(given: Mapping[str, Json], limit: float, *, block_private: bool) -> dict[str, Any]:
    verify = given.get("verify_ssl_cert") is not False
    mounts: dict[str, httpx2.AsyncBaseTransport] = {}
    for scheme in ("http", "https"):
        if given.get(f"{scheme}_proxy"):
            proxy = httpx2.URL(str(given[f"{scheme}_proxy"]))
            address = await judged(proxy.host, proxy.port, block_private=block_private)
            mounts[f"{scheme}://"] = httpx2.AsyncHTTPTransport(
                proxy=proxy.copy_with(host=address), verify=verify, trust_env=False
            )
    return {
        "timeout": limit,
        "transport": Outward(block_private=block_private, verify=verify, trust_env=False),
        "mounts": mounts,
        "max_redirects": _REDIRECTS,
        "trust_env": False,
    }


def _request(job: Job, given: Mapping[str, Json], url: str) -> dict[str, Any]:
    headers = _texts(given.get("headers"))
    names = {name.lower() for name in headers}
    if "user-agent" not in names:
        headers["User-Agent"] = f"st2/v{__version__}"
    headers["X-Stanley-Action"] = job.action.ref
    cookies = _texts(given.get("cookies"))
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    body = given.get("body")
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
    method = str(given.get("method") or ("POST" if body is not None else "GET")).upper()
    asked: dict[str, Any] = {
        "method": method,
        "url": url if "://" in url else f"http://{url}",
        "headers": headers,
        "content": body,
    }
    if given.get("params"):
        asked["params"] = given["params"]
    return asked


def _texts(value: Json) -> dict[str, str]:
    """Return an object of texts, from an object or from lines of `name=value` or `name: value`."""
    if isinstance(value, Mapping):
        return {str(name): str(item) for name, item in value.items()}
    if not isinstance(value, str) or not value.strip():
        return {}
    found: dict[str, str] = {}
    for part in value.replace("\n", ",").split(","):
        name, sign, item = part.partition("=" if "=" in part else ":")
        if sign:
            found[name.strip()] = item.strip()
    return found


def _parsed(kind: str, text: str) -> tuple[bool, Json]:
    if "json" not in kind.lower():
        return False, text
    try:
        return True, json.loads(text)
    except (ValueError, RecursionError):
        return False, text
