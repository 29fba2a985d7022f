"""The task registry on the wire: what may come in, who may read what, and packages that mean harm."""

import gzip
import json
import tarfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.support.http import Api
from tests.support.packages import TASK, digest_of, manifest_of, packed, push, task, upload
from tests.support.server import Server

TASKS = "/api/v1/org/default/tasks"
COMPOSE = "services:\n  web:\n    build: .\n    ports: ['8080:80']\n"


def entry(name: str, kind: bytes, target: str = "", **fields: Any) -> tarfile.TarInfo:
    """Make a member of some kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for field, value in fields.items():
        setattr(info, field, value)
    return info


YAML = {"task.yaml": yaml.safe_dump(TASK)}


def with_member(*members: tarfile.TarInfo) -> bytes:
    return packed(YAML, members)


def headers_without_end() -> bytes:
    """Pack a long name of 64 MiB, which a reader would keep in memory."""
    head = tarfile.TarInfo("././@LongLink")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, 64 << 20
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    out = [compressor.compress(head.tobuf())]
    out += [compressor.compress(b"a" * (1 << 20)) for _ in range(64)]
    return b"".join([*out, compressor.flush()])


def bomb() -> bytes:
    """Pack an entry of 5 GiB, more than a package may hold when unpacked; its size alone tells."""
    head = tarfile.TarInfo("big")
    head.size = 5 << 30
    return gzip.compress(head.tobuf() + b"\0" * (1 << 20))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "link": lambda: with_member(entry("x", tarfile.SYMTYPE, "/etc/passwd")),
    "link inside": lambda: with_member(entry("x", tarfile.SYMTYPE, "task.yaml")),
    "hard link": lambda: with_member(entry("x", tarfile.LNKTYPE, "task.yaml")),
    "device": lambda: with_member(entry("x", tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "fifo": lambda: with_member(entry("x", tarfile.FIFOTYPE)),
    "absolute": lambda: packed({**YAML, "/etc/x": "x"}),
    "traversal": lambda: packed({**YAML, "a/../../x": "x"}),
    "overlong": lambda: packed({**YAML, "x" * 300: "x"}),
    "file as folder": lambda: packed({**YAML, "task.yaml/x": "x"}),
    "folder as file": lambda: packed({"a/b": "x", **YAML, "a": "x"}),
    "no tar": lambda: gzip.compress(b"x" * 10_000),
    "no gzip": lambda: b"x" * 10_000,
    "empty": lambda: b"",
    "truncated": lambda: task(padding="x" * 50_000)[:-200],
    "headers without end": headers_without_end,
    "bomb": bomb,
    "no task": lambda: packed({"x": "x"}),
    "task as folder": lambda: packed({"task.yaml/x": "x"}),
    "task in a folder": lambda: packed({"demo/task.yaml": YAML["task.yaml"]}),
    "no yaml": lambda: packed({"task.yaml": "a: [1"}),
    "no utf-8": lambda: packed({"task.yaml": b"\xff\xfe"}),
    "no mapping": lambda: packed({"task.yaml": "- a"}),
    "yaml object": lambda: packed({"task.yaml": "name: !!python/object/apply:os.system ['true']"}),
    "yaml bomb": lambda: packed({"task.yaml": "a: &a [x,x]\n" + "".join(
        f"{chr(97 + n + 1)}: &{chr(97 + n + 1)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9))}),
    "yaml merge bomb": lambda: packed({"task.yaml": "a: &a {k: 1}\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{','.join(['*' + chr(97 + n)] * 9)}]}}\n" for n in range(20))}),
    "yaml cycle": lambda: packed({"task.yaml": "a: &a [*a]"}),
    "yaml depth": lambda: packed({"task.yaml": "a: " + "[" * 5000 + "]" * 5000}),
    "yaml of bytes": lambda: packed({"task.yaml": "a: !!binary aGVsbG8="}),
    "large yaml": lambda: packed({"task.yaml": "a: " + "x" * (2 << 20)}),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_package_is_refused_and_leaves_nothing(api: Api, kind: str) -> None:
    layer = HOSTILE[kind]()
    answer = push(api, layer, name="hostile")
    payload = answer.expect(400).json()
    assert payload["type"] == "invalid_request_error"
    assert len(payload["detail"]) < 2000
    assert "[" not in payload["detail"]
    api.get(f"{TASKS}/hostile").expect(404)


MANIFESTS: dict[str, dict[str, Any]] = {
    "version": {"schemaVersion": 1},
    "kind": {"annotations": {"io.dreadnode.type": "dataset"}},
    "no layer": {"layers": []},
    "config type": {"config": {"mediaType": "x", "digest": digest_of(b"{}"), "size": 2}},
    "config absent": {"config": 5},
    "digest": {"config": {"mediaType": "x", "digest": "sha256:../../etc/passwd", "size": 2}},
    "annotation": {"annotations": {"io.dreadnode.type": 5}},
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_manifest_of_another_form_is_refused(api: Api, kind: str) -> None:
    layer = task(name="shape")
    push(api, layer, name="shape", manifest=manifest_of(layer, **MANIFESTS[kind])).expect(400)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_manifest_that_is_no_json_is_refused(api: Api, raw: bytes) -> None:
    api.put("/api/v1/default/shape/manifests/0.1.0", raw).expect(400)


def test_manifest_must_tell_the_truth_about_its_blobs(api: Api) -> None:
    layer = task(name="truth")
    path = "/api/v1/default/truth/manifests/0.1.0"
    upload(api, b"{}").expect(201)
    assert "was not uploaded" in api.put(path, manifest_of(layer)).expect(400).json()["detail"]
    upload(api, layer).expect(201)
    assert "bytes, not" in api.put(path, manifest_of(layer, layers=[
        {"mediaType": "application/vnd.dreadnode.layer.v1.tar+gzip", "digest": digest_of(layer), "size": 5}
    ])).expect(400).json()["detail"]  # fmt: skip
    assert "pushed as" in push(api, layer, name="truth", version="0.2.0").expect(400).json()["detail"]
    for reference in ("latest", "1", "1.2", "v1.0.0", "1.0.0-rc1", "01.0.0", "..%2f..%2fx"):
        api.put(f"/api/v1/default/truth/manifests/{reference}", manifest_of(layer)).expect(400)
    api.put("/api/v1/default/Truth%0d%0aX:y/manifests/0.1.0", manifest_of(layer)).expect(400)
    api.post("/api/v1/default/a%0d%0aX:y/blobs/uploads/").expect(400)
    upload(api, b"5").expect(201)
    config = {
        "config": {
            "mediaType": "application/vnd.dreadnode.config.v1+json",
            "digest": digest_of(b"5"),
            "size": 1,
        }
    }
    assert "no JSON object" in api.put(path, manifest_of(layer, **config)).expect(400).json()["detail"]


def test_upload_with_a_wrong_digest_is_refused(api: Api) -> None:
    promised = digest_of(b"other")
    assert "not sha256:" in upload(api, b"bytes", digest=promised).expect(400).json()["detail"]
    api.get(f"/api/v1/default/blobs/{promised}").expect(404)
    for bad in ("", "sha256:x", "sha512:" + "0" * 128, "sha256:" + "A" * 64):
        upload(api, b"bytes", digest=bad).expect(422) if bad else None
    api.put("/api/v1/default/demo/blobs/uploads/x", b"bytes").expect(422)
    api.get("/api/v1/default/blobs/..%2f..%2fkeys").expect(422)


def test_blob_goes_in_and_out_unchanged_and_head_tells_its_size(api: Api) -> None:
    data = bytes(range(256)) * 5000
    upload(api, data).expect(201)
    upload(api, data).expect(201)
    path = f"/api/v1/default/blobs/{digest_of(data)}"
    assert api.get(path).expect(200).body == data
    head = api.request("HEAD", path).expect(200)
    assert (head.headers["content-length"], head.body) == (str(len(data)), b"")
    assert api.request("HEAD", f"/api/v1/default/blobs/{digest_of(b'absent')}").status == 404


def test_versions_are_ordered_as_numbers_and_latest_is_the_highest(api: Api) -> None:
    for version in ("0.9.0", "0.10.0", "0.2.0"):
        push(api, task(name="many", version=version), name="many", version=version).expect(201)
    found = api.get(f"{TASKS}/many/versions").expect(200).json()
    assert found["versions"] == ["0.10.0", "0.9.0", "0.2.0"]
    assert found["latest"]["version"] == "0.10.0"
    assert api.get("/api/v1/default/many/tags/list").expect(200).json()["tags"] == [
        "0.2.0",
        "0.9.0",
        "0.10.0",
    ]
    latest = api.get("/api/v1/default/many/manifests/latest").expect(200)
    by_digest = api.get(f"/api/v1/default/many/manifests/{latest.headers['docker-content-digest']}").expect(
        200
    )
    assert latest.body == by_digest.body
    assert latest.headers["docker-content-digest"] == digest_of(latest.body)
    api.delete(f"{TASKS}/many/0.10.0").expect(204)
    assert api.get(f"{TASKS}/many").expect(200).json()["version"] == "0.9.0"
    api.get("/api/v1/default/many/manifests/0.10.0").expect(404)
    for version in ("latest", "0.2.0"):
        api.delete(f"{TASKS}/many/{version}").expect(204)
    api.get(f"{TASKS}/many").expect(404)
    api.delete(f"{TASKS}/many/0.2.0").expect(404)


def test_detail_tells_all_that_the_task_says(api: Api) -> None:
    fields: dict[str, Any] = {
        "name": "full",
        "ports": {"web": [80]},
        "tags": ["b", "a"],
        "difficulty": "hard",
        "author": {"name": "Ann"},
        "provision": {"script": "provision.sh"},
        "models": {"judge": "m"},
        "egress": {"allow": ["Example.com", "10.0.0.0/8"]},
        "max_agent_timeout_sec": 60,
        "unknown": {"kept": True},
    }
    files = {
        "docker-compose.yaml": COMPOSE,
        "Dockerfile": "FROM x",
        "provision.sh": "echo {}",
        "README.md": "# Hi",
    }
    layer = task(files, **fields)
    push(api, layer, name="full").expect(201)
    found = api.get(f"{TASKS}/full/latest").expect(200).json()
    assert found["oci_digest"] == digest_of(layer)
    assert found["file_size"] == len(layer)
    assert found["ports"] == {"web": [80]}
    assert found["provision"] == {"script": "provision.sh", "timeout": 120}
    assert found["egress"] == {"allow": ["example.com", "10.0.0.0/8"]}
    assert (found["author"], found["difficulty"], found["tags"]) == ("Ann", "hard", ["b", "a"])
    assert found["verification"] == TASK["verification"]
    assert api.get(f"{TASKS}/full/readme").expect(200).json() == {"content": "# Hi"}
    assert api.get(f"{TASKS}/full/instruction").expect(200).json() == {"instruction": "Find the flag."}
    again = task({**files, "README.md": "# Ho"}, **fields)
    push(api, again, name="full").expect(201)
    assert api.get(f"{TASKS}/full").expect(200).json()["oci_digest"] == digest_of(again)
    assert api.get(f"{TASKS}/full/versions").expect(200).json()["versions"] == ["0.1.0"]


def test_listing_filters_sorts_searches_and_pages(api: Api) -> None:
    listed: dict[str, dict[str, Any]] = {
        "list-a": {"difficulty": "easy", "tags": ["x", "y"], "source": "s1", "description": "Needle here"},
        "list-b": {"difficulty": "hard", "tags": ["y"], "source": "s1", "author": "bo"},
        "list-c": {"difficulty": "medium", "source": "s2"},
    }
    for name, fields in listed.items():
        push(api, task(name=name, **fields), name=name).expect(201)

    def names(query: str) -> list[str]:
        found = api.get(f"{TASKS}?search=list-&{query}").expect(200).json()
        assert len(found["tasks"]) == found["total"]
        return [one["name"] for one in found["tasks"]]

    assert names("sort_by=name&sort_dir=asc") == ["list-a", "list-b", "list-c"]
    assert names("") == ["list-c", "list-b", "list-a"]
    assert names("sort_by=difficulty&sort_dir=asc") == ["list-a", "list-c", "list-b"]
    assert names("tags=y&sort_by=name&sort_dir=asc") == ["list-a", "list-b"]
    assert names("tags=x&tags=none") == ["list-a"]
    assert names("difficulty=easy&difficulty=medium&source=s2") == ["list-c"]
    assert names("author=bo") == ["list-b"]
    assert [one["name"] for one in api.get(f"{TASKS}?search=NEEDLE").json()["tasks"]] == ["list-a"]
    assert api.get(f"{TASKS}?search=%25").json()["tasks"] == []
    page = api.get(f"{TASKS}?search=list-&limit=2&page=2").expect(200).json()
    assert (len(page["tasks"]), page["has_next"], page["has_previous"], page["total"]) == (1, False, True, 3)
    facets = api.get(f"{TASKS}/facets").expect(200).json()
    assert {"value": "s1", "count": 2} in facets["source"]
    assert {"value": "y", "count": 2} in facets["tags"]
    for name in "abc":
        api.delete(f"{TASKS}/list-{name}/0.1.0").expect(204)


# --- another tenant ---


def test_other_organization_sees_public_tasks_only(two_organizations: tuple[Server, Api, Api]) -> None:
    _, mine, theirs = two_organizations
    layer = task({"secret.txt": "mine"}, name="shared")
    push(mine, layer, name="shared").expect(201)
    blob = f"/api/v1/default/blobs/{digest_of(layer)}"
    paths = [
        f"{TASKS}/shared",
        f"{TASKS}/shared/0.1.0",
        f"{TASKS}/shared/versions",
        "/api/v1/default/shared/manifests/latest",
        "/api/v1/default/shared/tags/list",
        blob,
    ]
    for path in paths:
        assert theirs.get(path).expect(404).json()["type"] == "not_found_error"
    theirs.get(f"/api/v1/other/blobs/{digest_of(layer)}").expect(404)
    theirs.get(TASKS).expect(404)
    mine.patch(f"{TASKS}/shared/visibility", {"is_public": True}).expect(200)
    for path in paths:
        theirs.get(path).expect(200)
    assert theirs.get(blob).body == layer
    # The bytes stay those of the other organization.
    theirs.get(f"/api/v1/other/blobs/{digest_of(layer)}").expect(404)
    theirs.put("/api/v1/other/copy/manifests/0.1.0", manifest_of(layer)).expect(400)
    listed = theirs.get("/api/v1/org/other/tasks?include_public=true").json()["tasks"]
    assert ("default", "shared") in [(one["org_key"], one["name"]) for one in listed]
    assert theirs.get("/api/v1/org/other/tasks").json()["tasks"] == []
    for method, path in (
        ("PATCH", f"{TASKS}/shared/visibility"),
        ("DELETE", f"{TASKS}/shared/0.1.0"),
    ):
        theirs.request(method, path, {"is_public": False}).expect(403)
    for method, path in (
        ("POST", "/api/v1/default/shared/blobs/uploads/"),
        ("PUT", f"/api/v1/default/shared/blobs/uploads/x?digest={digest_of(b'x')}"),
        ("PUT", "/api/v1/default/shared/manifests/0.1.0"),
    ):
        theirs.request(method, path, b"x").expect(404)
    mine.patch(f"{TASKS}/shared/visibility", {"is_public": False}).expect(200)
    for path in paths:
        theirs.get(path).expect(404)
    mine.get(blob).expect(200)


def test_package_above_the_limits_is_refused(two_organizations: tuple[Server, Api, Api]) -> None:
    theirs = two_organizations[2]
    noise = json.dumps(list(range(400_000))).encode()
    for number, (size, status) in enumerate((((2 << 20) + 1, 400), (2 << 20, 201), ((1 << 20) + 1, 400))):
        assert upload(theirs, noise[number : size + number], org="other").status == status
    begun = theirs.post("/api/v1/other/demo/blobs/uploads/").expect(202)
    answer = theirs.put(f"{begun.headers['location']}?digest={digest_of(b'')}", b"x" * (3 << 20))
    assert answer.status == 400
