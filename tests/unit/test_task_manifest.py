"""What `task.yaml` may say, and what a task's files must be: pure rules over documents and one folder."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runyard.environments.lifetimes import Lifetimes
from runyard.environments.packages.archive import unpack_layer
from runyard.environments.packages.checks import check_files, container_ports, read_readme, read_services
from runyard.environments.packages.documents import read_yaml
from runyard.environments.packages.egress import BadTarget, checked_targets
from runyard.environments.packages.errors import BadPackage, TaskNotFound
from runyard.environments.packages.manifest import read_manifest
from runyard.environments.packages.model import TaskRef, Version, digest_hex
from runyard.environments.packages.verification import read_hash, read_verification
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.tarballs import TarballLimits
from tests.support.packages import TASK, packed

JUDGE = {"model": "m", "rubric": "r"}
SHA = "a" * 64


def document(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**TASK, **fields}.items() if value is not None}


# --- references ---


@pytest.mark.parametrize(
    ("text", "org", "name", "version"),
    [
        ("demo", None, "demo", None),
        ("demo@latest", None, "demo", None),
        ("demo@1.2.3", None, "demo", Version(1, 2, 3)),
        ("org.x/demo@0.10.0", "org.x", "demo", Version(0, 10, 0)),
    ],
)
def test_reference_is_read(text: str, org: str | None, name: str, version: Version | None) -> None:
    assert TaskRef.parse(text) == TaskRef(org, name, version)


@pytest.mark.parametrize("text", ["", "@1.0.0", "Demo", "a/b/c", "/demo", "demo@", "demo@1", "demo@1.0", "../x", "x@1.0.0.0", "-x", "x\n"])  # fmt: skip
def test_reference_that_cannot_be_is_not_found(text: str) -> None:
    with pytest.raises(TaskNotFound, match="Task not found"):
        TaskRef.parse(text)


@given(st.text())
def test_reference_of_any_text_is_read_or_not_found(text: str) -> None:
    try:
        ref = TaskRef.parse(text)
    except TaskNotFound:
        return
    assert ref.name in text


def test_versions_are_ordered_as_numbers() -> None:
    texts = ["0.10.0", "0.9.9", "1.0.0", "0.9.10"]
    ordered = sorted(texts, key=Version.parse)
    assert ordered == ["0.9.9", "0.9.10", "0.10.0", "1.0.0"]
    assert [str(Version.parse(text)) for text in texts] == texts


@pytest.mark.parametrize(
    "text", ["sha256:" + "A" * 64, "a" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 64 + "\n"]
)
def test_digest_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        digest_hex(text)


# --- verification ---


@pytest.mark.parametrize(
    ("block", "method"),
    [
        ({"method": "flag", "path": "/tmp/f", "value": "v"}, "flag"),
        ({"method": "flag", "submission_path": "/tmp/f", "flag_hash": SHA}, "flag"),
        ({"script": "verify.sh"}, "script"),
        ({"judge": JUDGE}, "outcome_judge"),
        ({"script": "v.sh", "judge": {"model": "m"}}, "script_and_judge"),
        ({"path": "/f", "value": "v", "judge": {"model": "m"}}, "flag_and_judge"),
    ],
)
def test_verification_method_is_told_or_inferred(block: dict[str, Any], method: str) -> None:
    assert read_verification(block).method == method


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"path": "/f", "value": "v"},
        {"method": "flag", "path": "/f"},
        {"method": "flag", "value": "v"},
        {"method": "flag", "path": "/f", "value": "v", "hash": SHA},
        {"method": "flag", "path": "/f", "value": 5},
        {"method": "flag", "path": "/f", "value": "v", "judge": JUDGE},
        {"method": "script"},
        {"method": "script", "script": "../v.sh"},
        {"method": "script", "script": "/v.sh"},
        {"method": "script", "script": "v.sh", "where": "elsewhere"},
        {"method": "script", "script": "v.sh", "timeout": 0},
        {"method": "script", "script": "v.sh", "timeout": True},
        {"method": "outcome_judge", "judge": {"model": "m"}},
        {"method": "outcome_judge", "judge": JUDGE, "script": "v.sh"},
        {"method": "outcome_judge", "judge": {**JUDGE, "max_steps": 501}},
        {"method": "outcome_judge", "judge": {**JUDGE, "more": 1}},
        {"method": "outcome_judge", "judge": {**JUDGE, "kind": "other"}},
        {"method": "script_and_judge", "script": "v.sh", "judge": JUDGE, "hash": SHA},
        {"method": "flag_and_judge", "path": "/f", "value": "v", "judge": JUDGE, "script": "v.sh"},
        {"method": "guess"},
        {"method": ["flag"]},
    ],
)
def test_verification_that_breaks_a_rule_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(BadPackage, match="verification"):
        read_verification(block)


def test_hash_without_an_algorithm_is_sha256() -> None:
    assert read_hash(SHA.upper()) == ("sha256", SHA)
    assert read_hash("MD5:" + "0" * 32) == ("md5", "0" * 32)
    for bad in ("0" * 32, "md5:" + "0" * 31, "crc:00", "sha256:" + "g" * 64, 5, ""):
        with pytest.raises(BadPackage):
            read_hash(bad)


# --- the document ---


def test_manifest_of_every_field_is_read() -> None:
    read = read_manifest(
        document(
            ports={"web": [80, 443, 80]},
            provision={"script": "p.sh", "timeout": 5},
            teardown={"script": "t.sh"},
            solution={"script": "s.sh"},
            models={"judge": "a/b", "helper": {"model": "c", "overridable": False}},
            egress={"allow": []},
            tags="one",
            difficulty=3,
            author={"name": "Ann", "email": "x"},
            max_agent_timeout_sec=60.0,
            more={"kept": 1},
        )
    )
    assert read.ports == {"web": (80, 443)}
    assert (read.provision.script, read.provision.timeout_sec) == ("p.sh", 5) if read.provision else False
    assert read.teardown is not None
    assert read.teardown.timeout_sec == 120
    assert read.models["helper"].overridable is False
    assert (read.egress, read.tags, read.difficulty, read.author) == ((), ("one",), "3", "Ann")
    assert read.document["more"] == {"kept": 1}
    assert read_manifest(document()).egress is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": None}, "name"),
        ({"name": "A"}, "name"),
        ({"version": "1.0"}, "version"),
        ({"version": 1.0}, "version"),
        ({"instruction": " "}, "instruction"),
        ({"verification": None}, "verification"),
        ({"verification": "flag"}, "verification"),
        ({"ports": ["80"]}, "ports"),
        ({"ports": {"web": 80}}, "ports"),
        ({"ports": {"web": [0]}}, "ports"),
        ({"ports": {"web": [True]}}, "ports"),
        ({"ports": {"../x": [80]}}, "ports"),
        ({"provision": "p.sh"}, "provision"),
        ({"provision": {"script": "../p.sh"}}, "provision"),
        ({"provision": {"script": "p.sh", "timeout": -1}}, "provision"),
        ({"solution": {"script": 5}}, "solution"),
        ({"models": {"Judge": "m"}}, "models"),
        ({"models": {"judge": {"model": "m", "x": 1}}}, "models"),
        ({"models": {"judge": {"overridable": True}}}, "models"),
        ({"models": {"judge": "a b"}}, "models"),
        ({"models": [""]}, "models"),
        ({"models": {f"r{n}": "m" for n in range(51)}}, "models"),
        ({"egress": ["x.com"]}, "egress"),
        ({"egress": {"allow": [], "deny": []}}, "egress"),
        ({"tags": [{}]}, "tags"),
        ({"author": [5]}, "author"),
        ({"max_agent_timeout_sec": "x"}, "max_agent_timeout_sec"),
    ],
)
def test_manifest_that_breaks_a_rule_names_the_field(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(BadPackage) as caught:
        read_manifest(document(**fields))
    assert caught.value.message.startswith(said)


def test_manifest_with_numbers_in_other_spellings_is_read() -> None:
    read = read_manifest(
        document(
            ports={"web": ["80", 443.0, 80]},
            provision={"script": "p.sh", "timeout": "5"},
            verification={"script": "v.sh", "timeout": "9", "judge": {**JUDGE, "max_steps": 7.0}},
            author=2022,
            max_agent_timeout_sec="60",
        )
    )
    assert read.ports == {"web": (80, 443)}
    assert (read.verification.timeout_sec, read.max_agent_timeout_sec, read.author) == (9, 60, "2022")
    assert read.provision is not None
    assert read.provision.timeout_sec == 5


def test_manifest_with_several_problems_tells_all() -> None:
    with pytest.raises(BadPackage) as caught:
        read_manifest(document(name="A", version="x", ports=5))
    assert [part.split(":")[0] for part in caught.value.message.split("; ")] == ["name", "version", "ports"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["name", "version", "instruction", "verification", "ports", "provision", "solution", "models", "egress", "tags", "author", "difficulty"]  # fmt: skip


@given(st.sampled_from(FIELDS), json_values)
def test_manifest_of_any_value_is_read_or_refused(field: str, value: object) -> None:
    try:
        read_manifest({**TASK, field: value})
    except BadPackage:
        return


# --- targets of egress ---


def test_targets_get_one_spelling_each() -> None:
    listed = [
        "Example.com",
        "example.com",
        "*.X.org",
        "10.0.0.1",
        "10.0.0.0/8",
        "::1",
        "tcp://Db.example.com:5432",
    ]
    assert checked_targets({"allow": listed}) == (
        "example.com",
        "*.x.org",
        "10.0.0.1",
        "10.0.0.0/8",
        "::1",
        "tcp://db.example.com:5432",
    )
    assert checked_targets({"allow": ["tcp://[::1]:80"]}) == ("tcp://[::1]:80",)


@pytest.mark.parametrize(
    "target",
    ["*", "localhost", "http://x.com", "x.com/path", "10.0.0.1/8", "10.0.0.0/33", "*.com.", "a..b", "", 5, "tcp://x.com", "tcp://x.com:0", "tcp://x.com:99999", "tcp://10.0.0.0/8:80", "x y.com"],
)  # fmt: skip
def test_target_of_no_known_form_is_refused(target: object) -> None:
    with pytest.raises(BadTarget):
        checked_targets({"allow": [target]})


def test_too_many_targets_are_refused() -> None:
    with pytest.raises(BadTarget):
        checked_targets({"allow": [f"h{n}.example.com" for n in range(51)]})


# --- files ---


def files(folder: Path, **content: str) -> Path:
    for name, text in content.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


COMPOSE = "services:\n  web:\n    build: {context: app}\n    ports: ['127.0.0.1:8080:80/tcp', {target: 443}, 5000-5002]\n"


def compose(folder: Path, text: str = COMPOSE) -> Path:
    (folder / "docker-compose.yaml").write_text(text)
    (folder / "app").mkdir(exist_ok=True)
    (folder / "app" / "Dockerfile").write_text("FROM x")
    return folder


def test_files_that_fit_are_accepted(tmp_path: Path) -> None:
    compose(tmp_path)
    check_files(read_manifest(document(ports={"web": [80, 443, 5001]})), tmp_path)
    services = read_services(tmp_path)
    assert services is not None
    assert container_ports(services["web"]) == {80, 443, 5000, 5001, 5002}
    assert read_services(tmp_path / "app") is None


@pytest.mark.parametrize(
    ("fields", "text", "said"),
    [
        ({"ports": {"web": [80]}}, None, "docker-compose.yaml is required"),
        ({"ports": {"db": [80]}}, COMPOSE, "'db' is not in"),
        ({"ports": {"web": [81]}}, COMPOSE, "port 81"),
        ({}, "a: 1", "must have services"),
        ({}, "services: {web: 5}", "must be a mapping"),
        ({}, "services: {web: {build: ../out}}", "leaves the task's folder"),
        ({}, "services: {web: {build: {context: /etc, dockerfile: passwd}}}", "leaves the task's folder"),
        ({}, "services: {web: {build: {context: app, dockerfile: ../../x}}}", "leaves the task's folder"),
        ({}, "services: {web: {build: other}}", "which is not there"),
        ({}, "services: {web: {build: 5}}", "must be a folder or a mapping"),
        ({}, "services: {web: {build: {context: [1]}}}", "as texts"),
        ({"provision": {"script": "absent.sh"}}, COMPOSE, "absent.sh"),
        ({"solution": {"script": "app"}}, COMPOSE, "solution"),
        ({"instruction": "go to http://web:80/x", "ports": {"web": [80]}}, COMPOSE, "{{web_url}}"),
        ({"instruction": "go to https://u:p@localhost/", "ports": {"web": [80]}}, COMPOSE, "{{web_url}}"),
    ],
)
def test_files_that_do_not_fit_are_named(
    tmp_path: Path, fields: dict[str, Any], text: str | None, said: str
) -> None:
    if text is not None:
        compose(tmp_path, text)
    with pytest.raises(BadPackage) as caught:
        check_files(read_manifest(document(**fields)), tmp_path)
    assert said in caught.value.message


def test_instruction_may_name_other_hosts(tmp_path: Path) -> None:
    compose(tmp_path)
    text = (
        "see https://example.com/web and {{web_url}}/x and {http://web}, your cache is redis://localhost:6379"
    )
    check_files(read_manifest(document(ports={"web": [80]}, instruction=text)), tmp_path)


def test_instruction_of_any_size_is_read_in_no_time(tmp_path: Path) -> None:
    compose(tmp_path)
    for text in ("a." * 90_000, "http://" * 25_000, "http://a@" * 20_000, "x" * 190_000 + "://"):
        check_files(read_manifest(document(ports={"web": [80]}, instruction=text)), tmp_path)


def test_readme_is_found_in_any_case_and_made_text(tmp_path: Path) -> None:
    assert read_readme(tmp_path) is None
    (tmp_path / "ReadMe.MD").write_bytes(b"# Hi \xff\0")
    assert read_readme(tmp_path) == "# Hi \ufffd"


def test_yaml_becomes_plain_json(tmp_path: Path) -> None:
    read = read_yaml(b"a: 2026-01-01\n2: [.nan, .inf, 99999999999999999999]\nyes: !!set {x}\n", "f")
    assert read == {"a": "2026-01-01", "2": ["nan", "inf", "99999999999999999999"], "True": ["x"]}
    for bad in (b'a: "\\0"', b'a: "\\ud800"', b"[", b"- a", b"", b"a: &a [*a]"):
        with pytest.raises(BadPackage, match=r"^f"):
            read_yaml(bad, "f")


def test_yaml_merges_as_written_and_not_without_end() -> None:
    text = b"a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {<<: [*a, *b], y: 3}\nd: {<<: *b}\n"
    read = read_yaml(text, "f")
    assert read == yaml.safe_load(text)
    assert (read["c"], read["d"]) == ({"x": 1, "z": 2, "y": 3}, {"x": 2, "z": 2})
    levels = ["a: &a {k0: 1, k1: 2}"]
    levels += [
        f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{','.join(['*' + chr(97 + n)] * 9)}]}}" for n in range(20)
    ]
    wide = "a: &a {" + ",".join(f"k{n}: 1" for n in range(1000)) + "}\nb: [" + "{<<: *a}," * 1000 + "]"
    for bad in ("\n".join(levels), "a: &a {<<: *a}", "a: {<<: [1]}", "a: {<<: 1}", wide):
        with pytest.raises(BadPackage, match=r"^f"):
            read_yaml(bad.encode(), "f")


# --- layers ---


def test_layer_is_unpacked_with_its_permissions_and_no_set_id_bits(tmp_path: Path) -> None:
    member = tarfile.TarInfo("folder")
    member.type, member.mode = tarfile.DIRTYPE, 0o7777
    raw = packed({"run.sh": "x", "a/b": "y"}, [member])
    unpack_layer(io.BytesIO(raw), tmp_path, TarballLimits())
    assert (tmp_path / "a" / "b").read_text() == "y"
    assert not (tmp_path / "folder").stat().st_mode & 0o7000
    assert not (tmp_path / "run.sh").stat().st_mode & 0o7000


def test_layer_above_the_limits_is_refused(tmp_path: Path) -> None:
    for limits in (TarballLimits(bytes=3), TarballLimits(entries=1)):
        with pytest.raises(BadPackage):
            unpack_layer(io.BytesIO(packed({"a": "xx", "b": "xx"})), tmp_path, limits)


# --- lifetimes ---


def test_lifetime_is_cut_to_the_maximum_and_refused_above_the_hard_one() -> None:
    some = Lifetimes(hard_max_secs=100, max_secs=50, default_secs=60)
    assert [some.effective(wish) for wish in (None, 10, 60, 100)] == [50, 10, 50, 50]
    for wish in (0, -1, 101):
        with pytest.raises(InvalidArgument):
            some.effective(wish)
