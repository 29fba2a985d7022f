"""The table of commands as a whole: help, `--json`, the reference page, imports, and what starting costs."""

import ast
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from runyard import __version__
from runyard.cli.docs import page, walk
from runyard.cli.invocation import RemoteCommand
from runyard.cli.kit.commands import Command, LazyGroup
from runyard.cli.kit.exits import BY_CODE, status_of
from runyard.cli.root import root
from runyard.kernel import errors
from runyard.kernel.errors import RunyardError
from tests.support.cli import runyard_command

SOURCE = Path(__file__).parents[3] / "src" / "runyard"
DOCS = Path(__file__).parents[3] / "docs" / "cli.md"
ALL = list(walk())
COMMANDS = [(path, one) for path, one in ALL if isinstance(one, Command)]
NAMES = [path for path, _ in COMMANDS]
WITHOUT_DATA = {"runyard serve", "runyard completion"}
"""Commands that print no data: a running server's banner, a script for a shell."""
MAY_IMPORT_THE_SERVER = {"serve.py", "doctor.py"}
ROUNDS = 11


def help_of(path: str, command: click.Command) -> str:
    """Return the help page of a command."""
    context = click.Context(command, info_name=path.rpartition(" ")[2])
    return command.get_help(context)


def test_commands_are_exactly_those_of_the_contract() -> None:
    nouns = {path.split()[1] for path, _ in ALL if path != "runyard"}
    short = {"exec", "run", "ps", "logs", "serve", "doctor", "completion", "version"}
    assert nouns == short | {
        "runtime",
        "checkpoint",
        "image",
        "secret",
        "user",
        "guardrail",
        "integration",
        "member",
        "state",
        "task",
        "workspace",
        "role",
        "project",
        "execution",
        "token",
        "profile",
    }
    verbs = {path.removeprefix("runyard runtime ") for path in NAMES if path.startswith("runyard runtime ")}
    assert verbs >= {
        "create",
        "list",
        "get",
        "delete",
        "start",
        "stop",
        "pause",
        "resume",
        "cp",
        "files get",
        "files put",
    }


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_help_opens_with_an_example_and_closes_with_exit_statuses(path: str, command: click.Command) -> None:
    text = help_of(path, command)
    lines = text.splitlines()
    assert lines[0] == "Examples:"
    assert path.split()[0] in lines[1]
    assert any(path in one for one in text.partition("Usage:")[0].splitlines()), (
        "an example shows this very command"
    )
    assert "Exit status:" in text
    assert "130" in text.partition("Exit status:")[2]


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_command_has_json_and_a_described_set_of_options(path: str, command: Command) -> None:
    options = {name for one in command.params if isinstance(one, click.Option) for name in one.opts}
    assert ("--json" in options) == (path not in WITHOUT_DATA)
    assert {"--profile", "--quiet", "--no-color"} <= options
    assert not any(
        "token" in name and name not in {"--token-file", "--token-stdin", "--token-env", "--new-admin-token"}
        for name in options
    )
    for one in command.params:
        if isinstance(one, click.Option):
            assert one.help, f"{path} {one.opts} says nothing"
    assert (command.help or "").strip()


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_arguments_that_name_a_resource_are_completed(path: str, command: Command) -> None:
    nouns = {
        "runtime",
        "runtimes",
        "execution",
        "executions",
        "checkpoint",
        "images",
        "secrets",
        "projects",
        "token",
    }
    for one in command.params:
        if isinstance(one, click.Argument) and one.name in nouns:
            assert one._custom_shell_complete is not None, f"{path} {one.name}"


def test_group_tables_agree_with_the_commands_themselves() -> None:
    for path, group in ALL:
        if isinstance(group, LazyGroup):
            context = click.Context(group)
            for name, member in group.members.items():
                found = group.get_command(context, name)
                assert found is not None
                assert found.name == name, path
                assert member.summary.endswith(".")


def test_every_domain_error_has_an_exit_status() -> None:
    def all_below(kind: type[RunyardError]) -> Sequence[type[RunyardError]]:
        return [kind, *(deeper for one in kind.__subclasses__() for deeper in all_below(one))]

    kernel = [one for one in all_below(RunyardError) if one.__module__ == errors.__name__]
    missing = sorted({one.code for one in kernel} - set(BY_CODE))
    assert missing == []


@pytest.mark.parametrize(
    ("code", "http_status", "remote", "status"),
    [
        ("not_found", 404, False, 3),
        ("a_code_of_the_future", 409, False, 6),
        ("a_code_of_the_future", 500, False, 1),
        ("not_found", 404, True, 125),
        ("interrupted", None, True, 130),
    ],
)
def test_status_of_error(code: str, http_status: int | None, remote: bool, status: int) -> None:
    assert status_of(code, http_status, remote=remote) == status


@pytest.mark.parametrize(
    ("given", "separated"),
    [
        (["web", "ls", "-la"], ["web", "--", "ls", "-la"]),
        (["-it", "web", "bash"], ["-it", "web", "--", "bash"]),
        (["web", "-c", "ls | wc"], ["web", "-c", "ls | wc"]),
        (["-e", "A=1", "web", "env"], ["-e", "A=1", "web", "--", "env"]),
        (["-eA=1", "web", "env"], ["-eA=1", "web", "--", "env"]),
        (["--env=A=1", "--cwd", "/x", "web", "env"], ["--env=A=1", "--cwd", "/x", "web", "--", "env"]),
        (["web", "--", "x", "--", "y"], ["web", "--", "x", "--", "y"]),
        (["-ie", "A=1", "web", "-", "y"], ["-ie", "A=1", "web", "--", "-", "y"]),
        ([], []),
    ],
)
def test_argv_begins_where_the_first_word_of_the_command_is(given: list[str], separated: list[str]) -> None:
    command = dict(COMMANDS)["runyard exec"]
    assert isinstance(command, RemoteCommand)
    assert command.separated(given) == separated


def test_reference_page_is_what_the_commands_say() -> None:
    assert DOCS.read_text() == page(), "run `make docs`"


def test_version_is_that_of_the_package() -> None:
    assert __version__ == version("runyard")


def imported_modules(path: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("folder", ["cli", "client"])
def test_no_module_imports_the_server(folder: str) -> None:
    allowed = ("runyard.cli", "runyard.client", "runyard.kernel")
    for path in (SOURCE / folder).rglob("*.py"):
        for module in imported_modules(path):
            if module.startswith("runyard.") and not module.startswith(allowed):
                assert path.name in MAY_IMPORT_THE_SERVER, f"{path.name} imports {module}"


def test_loading_every_command_imports_neither_server_nor_http_library() -> None:
    program = (
        "import sys; from runyard.cli.docs import page; page();"
        "bad = [m for m in sys.modules if m.startswith(('runyard.server', 'runyard.runtimes', 'runyard.executions',"
        " 'runyard.identity', 'runyard.database', 'runyard.dialects', 'runyard.settings', 'sqlalchemy', 'litestar',"
        " 'pydantic', 'httpx', 'rich', 'uvicorn'))]; sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("arguments", "factor"), [(["--version"], 2.0), (["--help"], 6.0)])
def test_start_stays_within_its_budget(arguments: list[str], factor: float, tmp_path: Path) -> None:
    """Compare with a bare interpreter; compiled modules are in place, as they are after an installation."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPYCACHEPREFIX": str(tmp_path / "pyc"),
    }
    command = runyard_command(*arguments)
    subprocess.run(command, env=environment, capture_output=True, check=True)
    bare, ours = [], []
    for _ in range(ROUNDS):
        bare.append(seconds_of([sys.executable, "-c", "pass"], environment))
        ours.append(seconds_of(command, environment))
    # Taken in turns, so that a busy moment hits both; noise only ever adds, so the best of either is its true cost.
    by_median = statistics.median(ours) / statistics.median(bare)
    assert min(by_median, min(ours) / min(bare)) < factor, f"{by_median:.2f} times a bare interpreter"


def seconds_of(command: Sequence[str], environment: dict[str, str]) -> float:
    """Return the wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def test_root_has_no_command_twice() -> None:
    assert len(set(root.members)) == len(root.members)
