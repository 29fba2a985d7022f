"""Fetches images from the registries that the operator allows. Owns the distribution protocol, without any log-in.

Only hosts of the setting are asked, over TLS unless the setting says `http://`; every blob is checked against its digest
and bounded. What comes is an OCI image layout on disk; unpacking it safely is the engine's work.
"""

import asyncio
import hashlib
import json
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx2

from runyard.environments.errors import BuildFailed

Say = Callable[[str], None]
IMAGE_BYTES: Final = 16 << 30
DOCUMENT_BYTES: Final = 4 << 20
_SECONDS: Final = 60.0
_DOCKER: Final = "docker.io"
_DOCKER_HOST: Final = "registry-1.docker.io"
_KINDS: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*\Z")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an image is: a registry, a repository, a tag or digest."""

    host: str
    repository: str
    version: str

    @classmethod
    def parse(cls, text: str) -> "Reference | None":
        """Return what a reference means by the rules of Docker; None when it cannot be one."""
        name, at, digest = text.partition("@")
        first, slash, rest = name.partition("/")
        host, path = (
            (first, rest)
            if slash and ("." in first or ":" in first or first == "localhost")
            else (_DOCKER, name)
        )
        path, colon, tag = path.partition(":")
        if host == _DOCKER and "/" not in path:
            path = f"library/{path}"
        version = digest if at else (tag if colon else "latest")
        fits = _DIGEST.match(version) if at else _TAG.match(version)
        return cls(host, path, version) if fits and _REPOSITORY.match(path) and len(path) < 200 else None


class Registries:
    """The registries that may be asked."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """Take hosts, perhaps with a port; `http://` before one switches TLS off."""
        self._urls: dict[str, str] = {}
        for entry in allowed:
            host = entry.partition("://")[2] or entry
            scheme = "http" if entry.startswith("http://") else "https"
            self._urls[host] = f"{scheme}://{_DOCKER_HOST if host == _DOCKER else host}"

    def may_have(self, text: str) -> Reference | None:
        """Return where to look for an image; None when no allowed registry has it."""
        reference = Reference.parse(text)
        return reference if reference is not None and reference.host in self._urls else None

    async def fetch(self, reference: Reference, folder: Path, say: Say) -> None:
        """Write the image for this machine as an OCI image layout into an empty folder. Raises BuildFailed."""
        url = f"{self._urls[reference.host]}/v2/{reference.repository}"
        (folder / "blobs" / "sha256").mkdir(parents=True)
        try:
            async with httpx2.AsyncClient(timeout=_SECONDS, follow_redirects=True, trust_env=False) as client:
                await _Fetch(client, url, reference, folder, say).run()
        except httpx2.HTTPError as error:
            raise BuildFailed(
                f"the registry {reference.host} does not answer: {type(error).__name__}"
            ) from None


class _Fetch:
    """One image on its way."""

    def __init__(
        self, client: httpx2.AsyncClient, url: str, reference: Reference, folder: Path, say: Say
    ) -> None:
        self._client = client
        self._url = url
        self._reference = reference
        self._folder = folder
        self._say = say
        self._token: str | None = None
        self._left = IMAGE_BYTES

    async def run(self) -> None:
        """Fetch manifest, configuration and layers."""
        manifest, digest, size = await self._manifest(self._reference.version)
        if "manifests" in manifest:
            manifest, digest, size = await self._manifest(_chosen(manifest, self._reference))
        config, layers = manifest.get("config"), manifest.get("layers")
        if not isinstance(config, dict) or not isinstance(layers, list):
            raise self._failed("its manifest is of an unknown kind")
        for number, entry in enumerate([config, *layers]):
            if number:
                self._say(f"layer {number} of {len(layers)}: {int(entry.get('size', 0)) >> 20} MiB")
            await self._blob(str(entry.get("digest")))
        place = {"os": "linux", "architecture": _machine()}
        index = {"schemaVersion": 2, "manifests": [{"digest": digest, "size": size, "platform": place}]}
        (self._folder / "index.json").write_text(json.dumps(index))

    async def _manifest(self, version: str) -> tuple[Mapping[str, Any], str, int]:
        answer = await self._get(f"manifests/{version}", {"Accept": ", ".join(_KINDS)})
        body = await self._whole(answer)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if version.startswith("sha256:") and version != digest:
            raise self._failed("a manifest does not have its digest")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._failed("its manifest is not JSON")
        (self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(body)
        return document, digest, len(body)

    async def _blob(self, digest: str) -> None:
        if not _DIGEST.match(digest):
            raise self._failed("it names a digest that is not sha256")
        path = self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
        if path.exists():
            return
        answer, hashed = await self._get(f"blobs/{digest}", {}), hashlib.sha256()
        try:
            with path.open("wb") as file:
                async for piece in answer.aiter_bytes(1 << 20):
                    self._left -= len(piece)
                    if self._left < 0:
                        raise self._failed(f"it holds more than {IMAGE_BYTES >> 30} GiB")
                    hashed.update(piece)
                    await asyncio.to_thread(file.write, piece)
        finally:
            await answer.aclose()
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise self._failed("a blob does not have its digest")

    async def _get(self, path: str, headers: Mapping[str, str]) -> httpx2.Response:
        """Ask; where the registry wants a token, get an anonymous one and ask again."""
        for attempt in range(2):
            sent = {**headers, **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
            request = self._client.build_request("GET", f"{self._url}/{path}", headers=sent)
            answer = await self._client.send(request, stream=True)
            if answer.status_code == 401 and attempt == 0:
                await answer.aclose()
                self._token = await self._anonymous(answer.headers.get("www-authenticate", ""))
                continue
            if answer.status_code != 200:
                await answer.aclose()
                raise self._failed(f"the registry answered {answer.status_code}")
            return answer
        raise self._failed("the registry wants a log-in, and this server has none")

    async def _anonymous(self, challenge: str) -> str:
        values = dict(_CHALLENGE.findall(challenge))
        realm = values.pop("realm", "")
        # A realm is the registry's word: it must not lead this server anywhere but to another public service.
        if not challenge.lower().startswith("bearer") or not realm.startswith("https://"):
            raise self._failed("the registry wants a log-in, and this server has none")
        query = {
            "service": values.get("service", ""),
            "scope": f"repository:{self._reference.repository}:pull",
        }
        answer = await self._client.get(f"{realm}?{urlencode(query)}")
        try:
            document = answer.json()
            return str(document.get("token") or document["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise self._failed("the registry gave no token") from None

    async def _whole(self, answer: httpx2.Response) -> bytes:
        parts: list[bytes] = []
        total = 0
        try:
            async for piece in answer.aiter_bytes():
                total += len(piece)
                if total > DOCUMENT_BYTES:
                    raise self._failed("its manifest is too large")
                parts.append(piece)
        finally:
            await answer.aclose()
        return b"".join(parts)

    def _failed(self, why: str) -> BuildFailed:
        where = f"{self._reference.host}/{self._reference.repository}:{self._reference.version}"
        return BuildFailed(f"the image {where} cannot be fetched: {why}")


def _machine() -> str:
    return _MACHINES.get(platform.machine(), platform.machine())


def _chosen(index: Mapping[str, Any], reference: Reference) -> str:
    for entry in index["manifests"] if isinstance(index["manifests"], list) else ():
        place = entry.get("platform") or {} if isinstance(entry, dict) else {}
        if (place.get("os"), place.get("architecture")) == ("linux", _machine()):
            return str(entry.get("digest"))
    raise BuildFailed(f"the image {reference.repository} is not made for linux/{_machine()}")
