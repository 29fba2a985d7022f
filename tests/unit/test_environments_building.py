"""Reading Dockerfiles and compose files, and what is copied of a build context."""

from collections.abc import Mapping
from pathlib import Path
from platform import machine

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.environments.building.compose import read_compose
from runyard.environments.building.context import Context, digest_of
from runyard.environments.building.dockerfile import CopyStep, FolderStep, Reader, Recipe, RunStep
from runyard.environments.building.model import ServicePlan
from runyard.environments.building.words import duration, size, substituted
from runyard.environments.errors import BadCompose, BadDockerfile, BuildFailed


def recipe(text: str, **args: str) -> Recipe:
    """Read a Dockerfile over a plain base."""
    return Reader(text, args).read({"PATH": "/bin"}, "/", "")


def test_dockerfile_of_common_words_becomes_steps() -> None:
    found = recipe(
        "# syntax=docker/dockerfile:1\n"
        "ARG VERSION=3.11\nFROM python:${VERSION}-alpine AS app\n"
        'ARG WHO=nobody\nENV A=1 B="two words" C=$A$WHO\nENV OLD style value\n'
        "WORKDIR /srv\nWORKDIR app/../lib\n"
        'COPY --chown=1:2 --chmod=755 a.txt b.txt ./\nCOPY ["c d", "/e"]\n'
        'RUN echo 1 \\\n  # a comment between\n  && echo 2\nUSER app\nRUN ["true", "x"]\n'
        "EXPOSE 80 443/tcp\nLABEL a=b\nHEALTHCHECK --interval=2s --retries=4 CMD wget -q x\nCMD python app.py\n",
        WHO="me",
    )
    assert found.reference == "python:3.11-alpine"
    assert found.env == {"PATH": "/bin", "A": "1", "B": "two words", "C": "me", "OLD": "style value"}
    assert found.workdir == "/srv/lib"
    kinds = [type(step) for step in found.steps]
    assert kinds == [FolderStep, FolderStep, CopyStep, CopyStep, RunStep, RunStep]
    copy, other, run, program = found.steps[2:]
    assert isinstance(copy, CopyStep)
    assert (copy.sources, copy.target, copy.mode, copy.owner) == (
        ["a.txt", "b.txt"],
        "/srv/lib/",
        0o755,
        "1:2",
    )
    assert isinstance(other, CopyStep)
    assert (other.sources, other.target) == (["c d"], "/e")
    assert isinstance(run, RunStep)
    assert run.argv == ("/bin/sh", "-c", "echo 1   && echo 2")
    assert (run.env["WHO"], run.user, run.line) == ("me", "", 11)
    assert isinstance(program, RunStep)
    assert (program.argv, program.user) == (("true", "x"), "app")
    assert found.ports == [80, 443]
    assert found.health is not None
    assert (found.health.interval_secs, found.health.retries) == (2.0, 4)
    assert found.command == ("/bin/sh", "-c", "python app.py")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("RUN true\n", "line 1: FROM must come first"),
        ("", "there is no FROM"),
        ("FROM a\nFROM b\n", "line 2: several stages"),
        ("FROM --platform=x a\n", "line 1: the flag --platform"),
        ("FROM a\n\nRUN --mount=type=cache true\n", "line 3: the flag --mount"),
        ("FROM a\nCOPY --from=b x y\n", "line 2: the flag --from"),
        ("FROM a\nADD http://x y\n", "line 2: ADD is not supported"),
        ("FROM a\nRUN <<EOF\n", "line 2: here-documents"),
        ("FROM a\nSHELL [\"x\"]\n", "line 2: SHELL is not supported"),
        ("FROM a\nENV =x\n", "line 2: '' is no name"),
        ("FROM a\nEXPOSE eighty\n", "line 2: 'eighty' is no port"),
        ("FROM a\nRUN\n", "line 2: RUN needs something"),
        ("FROM ${X:?must be given}\n", "line 1: the variable X is not set: must be given"),
        ("# escape=`\nFROM a\n", "line 1: only the escape"),
    ],
)  # fmt: skip
def test_dockerfile_beyond_the_subset_names_line_and_reason(text: str, reason: str) -> None:
    with pytest.raises(BadDockerfile) as found:
        recipe(text)
    assert reason in found.value.message


def test_entrypoint_and_command_of_one_file_belong_together() -> None:
    for text in ('CMD ["x"]\nENTRYPOINT ["y"]\n', 'ENTRYPOINT ["y"]\nCMD ["x"]\n'):
        found = recipe(f"FROM a\n{text}")
        assert (found.entrypoint, found.command) == (("y",), ("x",))
    assert recipe('FROM a\nENTRYPOINT ["y"]\n').command is None


def test_argument_from_before_from_is_there_when_it_is_named_again() -> None:
    text = "ARG TAG=3.11\nARG HIDDEN=h\nFROM python:${TAG}\nARG TAG\nENV A=$TAG B=${HIDDEN:-none}\n"
    found = recipe(text)
    assert (found.reference, found.env["A"], found.env["B"]) == ("python:3.11", "3.11", "none")
    assert recipe(text, TAG="3.12").env["A"] == "3.12"


def test_flags_that_change_nothing_are_read_and_volumes_are_folders() -> None:
    own = {"x86_64": "amd64", "aarch64": "arm64"}[machine()]
    found = recipe(
        f'FROM --platform=linux/{own} a\nCOPY --link x /y\nVOLUME /data logs\nVOLUME ["/more"]\n'
        "HEALTHCHECK --start-interval=1s CMD true\n"
    )
    assert found.reference == "a"
    assert [step.path for step in found.steps if isinstance(step, FolderStep)] == ["/data", "/logs", "/more"]
    assert recipe("FROM --platform=$BUILDPLATFORM a\n").reference == "a"


def compose(folder: Path, text: str, **variables: str) -> Mapping[str, ServicePlan]:
    """Read a compose file beside a folder to build."""
    (folder / "web").mkdir(exist_ok=True)
    (folder / "docker-compose.yaml").write_text(text)
    return read_compose(folder / "docker-compose.yaml", folder, variables)


def test_compose_services_come_after_those_they_depend_on(tmp_path: Path) -> None:
    found = compose(
        tmp_path,
        "services:\n"
        "  web:\n    build: {context: ./web, dockerfile: Other, args: [A=1]}\n    depends_on: [db, once]\n"
        "    ports: ['127.0.0.1:8080:80/tcp', {target: 443}]\n    command: run --fast 'a b'\n"
        "    environment: [KEY, 'X=${X:-d}']\n    mem_limit: 512m\n    cpus: 0.5\n    restart: always\n"
        "  once: {image: a, command: ['true']}\n"
        "  db:\n    image: b\n    networks: {back: {aliases: [store]}}\n"
        "    volumes: ['data:/var/lib/data', '/scratch', './web:/srv:ro']\n"
        "    healthcheck: {test: [CMD, check], interval: 1m30s}\n"
        "networks: {back: {internal: true}}\nvolumes: {data: {}}\nx-note: free\n",
        KEY="given",
    )
    assert list(found) == ["once", "db", "web"]
    web, db = found["web"], found["db"]
    assert web.build is not None
    assert (web.build.dockerfile, web.build.args) == ("Other", {"A": "1"})
    assert (web.ports, web.command, web.environment) == (
        [80, 443],
        ["run", "--fast", "a b"],
        {"KEY": "given", "X": "d"},
    )
    assert (web.memory_bytes, web.cpus) == (512 << 20, 0.5)
    assert (db.networks, [one.target for one in db.carried]) == ({"back": ["store"]}, ["/srv"])
    assert (db.folders, web.folders) == (["/var/lib/data", "/scratch"], [])
    assert db.health is not None
    assert db.health.interval_secs == 90


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "line 1: the file must be a mapping"),
        ("services: {}\n", "must hold 1 to 16 services"),
        ("services:\n  a:\n    image: x\n    privileged: true\n", "line 4: services.a.privileged is not supported"),
        ("services:\n  a:\n    ports: [80]\n", "line 2: services.a needs an image or a build"),
        ("services:\n  a:\n    build: ../..\n", "line 3: services.a.build leads out of the task"),
        ("services:\n  a:\n    build: ./nosuch\n", "there is no ./nosuch"),
        ("services:\n  a:\n    image: x\n    volumes: ['/etc:/x']\n", "files of the host are not supported"),
        ("services:\n  a:\n    image: x\n    ports: ['80-90']\n", "is no port (ranges"),
        ("services:\n  a:\n    image: x\n    ports: ['²']\n", "is no port (ranges"),
        ("services:\n  a:\n    image: x\n    healthcheck: {test: 'true', retries: .inf}\n", "infinity"),
        ("services:\n  a: {image: x, depends_on: [b]}\n", "there is no service b"),
        ("services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n", "in a circle"),
        ("services:\n  a: {image: x, volumes: ['v:/x']}\n  b: {image: x, volumes: ['v:/x']}\n", "a volume of two services"),
        ("services:\n  a: {image: x}\nsecrets: {}\n", "line 3: secrets is not supported"),
        ("services:\n  a: {image: x}\nnetworks: {n: {external: true}}\n", "networks.n.external is not supported"),
        ("services: &a\n  b: {image: *a}\n", "docker-compose.yaml"),
        ("services:\n  a: {image: '${X:?set it}'}\n", "the variable X is not set: set it"),
        ("services: [\n", "docker-compose.yaml:"),
    ],
)  # fmt: skip
def test_compose_beyond_the_subset_names_line_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(BadCompose) as found:
        compose(tmp_path, text)
    assert reason in found.value.message


def test_context_copies_content_of_folders_and_leaves_out_what_is_ignored(tmp_path: Path) -> None:
    for name in (
        "app/a.py",
        "app/b.txt",
        "app/deep/c.py",
        "keep.log",
        "drop.log",
        "node_modules/x",
        ".dockerignore",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("# no logs\n*.log\n!keep.log\nnode_modules\n**/*.txt\n")
    (tmp_path / "app" / "escape").symlink_to("/etc/passwd")
    context = Context(tmp_path)
    found = {entry.target for entry in context.entries(["."], "/srv/", 1)}
    assert found == {
        "/srv", "/srv/.dockerignore", "/srv/app", "/srv/app/a.py", "/srv/app/deep", "/srv/app/deep/c.py", "/srv/keep.log",
    }  # fmt: skip
    assert [entry.target for entry in context.entries(["app/*.py"], "/x/", 1)] == ["/x/a.py"]
    assert [entry.target for entry in context.entries(["keep.log"], "/x", 1)] == ["/x"]
    for bad in (["../secret"], ["nosuch"]):
        with pytest.raises(BuildFailed, match="line 7"):
            list(context.entries(bad, "/x/", 7))


def test_digest_follows_content_place_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    context = Context(tmp_path)

    def digest(target: str = "/x/") -> str:
        return digest_of(list(context.entries(["a"], target, 1)))

    first = digest()
    assert digest() == first
    assert digest("/y/") != first
    path.chmod(0o755)
    second = digest()
    assert second != first
    path.write_text("2")
    assert digest() not in (first, second)


def test_words_of_both_languages() -> None:
    variables = {"A": "1", "EMPTY": ""}
    assert (
        substituted("$A ${A} $$A ${B:-x} ${EMPTY:-y} ${EMPTY-z} ${A:+on} ${B:+on}!", variables)
        == "1 1 $A x y  on !"
    )
    assert [duration(text) for text in ("2s", "1m30s", "500ms", 3)] == [2.0, 90.0, 0.5, 3.0]
    assert [size(text) for text in ("512m", "1.5g", "2kb", 7)] == [512 << 20, 3 << 29, 2048, 7]
    for bad in ("", "x", "1x", "-1s", None, True):
        with pytest.raises(ValueError, match="is no"):
            duration(bad)


_WORDS = ("FROM", "RUN", "COPY", "ENV", "ARG", "USER", "EXPOSE", "CMD", "HEALTHCHECK", "a=b", "${X:-", "}", "$", "[", '"', "'", "\\",
          "\n", "\t", "#", "<<E", "--x=1", "..", "/", "80", "\0", "é")  # fmt: skip


@given(st.lists(st.sampled_from(_WORDS), max_size=14))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_dockerfile_or_is_refused_with_a_sentence(words: list[str]) -> None:
    for text in (" ".join(words), "FROM a\n" + " ".join(words)):
        refused = ""
        try:
            recipe(text)
        except BadDockerfile as error:
            refused = error.message
        assert not refused or refused.startswith("Dockerfile")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats(allow_nan=True) | st.text(max_size=6)
    | st.sampled_from(["./web", "${A:-1}", "${", "x:/y", "1m", "CMD", "80:90"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["test", "context", "target", "condition", "aliases", "web", "interval", "source", "type"]), inner, max_size=3
    ),
    max_leaves=5,
)  # fmt: skip
_KEYS = st.sampled_from(
    ["image", "build", "ports", "environment", "depends_on", "healthcheck", "command", "entrypoint", "volumes", "networks",
     "working_dir", "user", "hostname", "mem_limit", "cpus", "restart"]
)  # fmt: skip


@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_service_is_read_or_refused_with_a_sentence(tmp_path: Path, service: dict[str, object]) -> None:
    document = yaml.safe_dump({"services": {"web": {"image": "a", **service}}})
    refused, names = "", ["web"]
    try:
        names = list(compose(tmp_path, document))
    except BadCompose as error:
        refused = error.message
    assert names == ["web"]
    assert not refused or "docker-compose.yaml" in refused
