"""The process of a Python action: what it imports, how it talks to the server, how it ends."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runyard.actions.packs.loader import SYSTEM_FOLDER
from runyard.actions.shim import CHANNEL_VARIABLE, INSIDE, MODULE
from runyard.actions.shim.frames import (
    MAX_FRAME,
    BrokenFrame,
    Call,
    Refused,
    Returned,
    Start,
    decode,
    encode_error,
    encode_start,
    encode_value,
)
from runyard.actions.values import Json


@dataclass
class Ended:
    """How a process ended and what it said."""

    status: int
    stdout: str
    stderr: str
    frames: list[Call | Returned | Refused] = field(default_factory=list)


def run(
    entry_point: Path,
    parameters: Mapping[str, Json],
    answers: Mapping[str, Json] | None = None,
    config: Json = None,
) -> Ended:
    """Run an action in a process of its own and answer its calls by name; an exception is a refusal."""
    ours, theirs = socket.socketpair()
    environment = {
        "PYTHONPATH": str(INSIDE),
        CHANNEL_VARIABLE: f"fd:{theirs.fileno()}",
        "PATH": os.environ["PATH"],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE],
        env=environment,
        pass_fds=[theirs.fileno()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    theirs.close()
    start = Start(
        entry_point=str(entry_point),
        pack="mypack",
        action="mypack.act",
        parameters=parameters,
        config=config or {},
    )
    ended = Ended(0, "", "")
    with ours, ours.makefile("rwb") as line:
        line.write(encode_start(start))
        line.flush()
        for raw in line:
            frame = decode(raw)
            ended.frames.append(frame)
            if isinstance(frame, Call):
                answer = (answers or {}).get(frame.name)
                refused = isinstance(answer, Exception)
                line.write(encode_error(frame, str(answer)) if refused else encode_value(frame, answer))
                line.flush()
    ended.stdout, ended.stderr = process.communicate(timeout=30)
    ended.status = process.returncode
    return ended


def action(tmp_path: Path, body: str, head: str = "") -> Path:
    """Write an action whose method `run` has this body."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    path = tmp_path / "act.py"
    path.write_text(
        "import sys\nfrom st2common.runners.base_action import Action\n"
        f"{head}\nclass Act(Action):\n    def run(self, **kw):\n{lines}\n"
    )
    return path


@pytest.mark.parametrize(
    ("body", "result", "success"),
    [
        ("return kw", {"n": 5}, None),
        ("return None", None, None),
        ("return True, {'a': [1]}", {"a": [1]}, True),
        ("return (False, 'why')", "why", False),
        ("return [1, 2]", [1, 2], None),
        ("return 1, 2, 3", [1, 2, 3], None),
        ("return {1, 2} - {2}", "{1}", None),
        ("return float('nan')", "nan", None),
        ("return self.config['key']", "value", None),
        ("return False", False, None),
    ],
)
def test_action_reports_what_it_returns(
    tmp_path: Path, body: str, result: Json, success: bool | None
) -> None:
    ended = run(action(tmp_path, body), {"n": 5}, config={"key": "value"})
    assert ended.frames == [Returned(result, success)]
    assert (ended.status, ended.stderr) == (0, "")


def test_action_that_raises_ends_with_its_traceback_and_no_result(tmp_path: Path) -> None:
    ended = run(action(tmp_path, "raise KeyError('x')"), {})
    assert (ended.status, ended.frames) == (1, [])
    assert "KeyError: 'x'" in ended.stderr
    assert "Traceback" in ended.stderr


def test_action_that_exits_keeps_its_status(tmp_path: Path) -> None:
    ended = run(action(tmp_path, "print('out')\nsys.exit(7)"), {})
    assert (ended.status, ended.frames, ended.stdout) == (7, [], "out\n")


def test_pair_without_boolean_is_refused(tmp_path: Path) -> None:
    ended = run(action(tmp_path, "return 'yes', 1"), {})
    assert ended.status == 1
    (frame,) = ended.frames
    assert isinstance(frame, Refused)
    assert "boolean first" in frame.error
    assert "WrongResult" in frame.traceback


def test_log_lines_go_to_standard_error_in_the_known_form(tmp_path: Path) -> None:
    ended = run(
        action(tmp_path, "self.logger.info('hello %s', 'you')\nprint('out')\nself.logger.debug('d')"), {}
    )
    assert ended.stderr == "st2.actions.python.Act: INFO     hello you\nst2.actions.python.Act: DEBUG    d\n"
    assert ended.stdout == "out\n"


def test_datastore_is_asked_with_the_names_of_pack_and_class(tmp_path: Path) -> None:
    body = """service = self.action_service
value = service.get_value('k')
service.set_value(name='k', value='v', ttl=5, encrypt=True)
service.delete_value('k', local=False, scope='user')
keys = service.list_values(prefix='p')
return [value, keys[0].name, keys[0].value]"""
    answers = {
        "datastore.get": "stored",
        "datastore.set": True,
        "datastore.delete": True,
        "datastore.list": [{"name": "n", "value": "w", "scope": "system"}],
    }
    ended = run(action(tmp_path, body), {}, answers)
    calls = [(frame.name, dict(frame.arguments)) for frame in ended.frames if isinstance(frame, Call)]
    assert calls == [
        ("datastore.get", {"name": "mypack.Act:k", "scope": "system", "decrypt": False}),
        (
            "datastore.set",
            {"name": "mypack.Act:k", "value": "v", "ttl": 5, "scope": "system", "encrypt": True},
        ),
        ("datastore.delete", {"name": "k", "scope": "user"}),
        ("datastore.list", {"prefix": "mypack.Act:p", "limit": None, "offset": 0}),
    ]
    assert ended.frames[-1] == Returned(["stored", "n", "w"], None)


def test_refusal_of_the_server_is_an_exception_of_the_action(tmp_path: Path) -> None:
    ended = run(
        action(tmp_path, "return self.action_service.get_value('k')"),
        {},
        {"datastore.get": OSError("not yours")},
    )
    assert ended.status == 1
    assert "CallRefused: not yours" in ended.stderr


def test_old_constructor_and_old_module_name_work(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_text(
        "from st2actions.runners.pythonrunner import Action\nfrom st2common import log as logging\n"
        "from helper import HELP\nLOG = logging.getLogger(__name__)\n"
        "class Other(object):\n    pass\n"
        "class Old(Action):\n    def __init__(self, config):\n        super(Old, self).__init__(config)\n"
        "    def run(self):\n        LOG.warning('w')\n        return [HELP, self.action_service is not None]\n"
    )
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helper.py").write_text("HELP = 'help'\n")
    ended = run(path, {})
    assert ended.frames == [Returned(["help", True], None)]
    assert ended.stderr == "st2.old: WARNING  w\n"


def test_file_without_action_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.py"
    path.write_text("from st2common.runners.base_action import Action\n")
    ended = run(path, {})
    assert ended.status == 1
    assert "empty.py has no class that is an action" in ended.stderr


def test_children_of_the_action_do_not_get_the_line(tmp_path: Path) -> None:
    body = f"import os\nreturn [os.environ.get({CHANNEL_VARIABLE!r}), [os.get_inheritable(int(n)) for n in os.listdir('/proc/self/fd') if int(n) > 2 and os.path.exists('/proc/self/fd/' + n)]]"
    (frame,) = run(action(tmp_path, body), {}).frames
    assert isinstance(frame, Returned)
    assert frame.result[0] is None
    assert True not in frame.result[1]


def test_system_actions_run() -> None:
    core = SYSTEM_FOLDER / "core" / "actions"
    (made,) = run(core / "generate_uuid.py", {"uuid_type": "uuid4"}).frames
    assert isinstance(made, Returned)
    assert len(made.result) == 36
    assert run(core / "pause.py", {"max_pause": 0, "random": True}).frames == [Returned(None, None)]
    asked = run(core / "inject_trigger.py", {"trigger": "a.b", "payload": {"x": 1}}).frames
    assert asked[0] == Call(1, "trigger.dispatch", {"trigger": "a.b", "payload": {"x": 1}, "trace_tag": None})
    packs = SYSTEM_FOLDER / "packs" / "actions" / "through_server.py"
    asked = run(packs, {"packs": ["x"]}, {"action.run": {"done": True}}).frames
    assert asked[0] == Call(1, "action.run", {"action": "mypack.act", "parameters": {"packs": ["x"]}})
    assert asked[1] == Returned({"done": True}, None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"not json",
        b'{"call": "os.system", "id": 1}',
        b'{"call": "datastore.get"}',
        b'{"call": 5}',
        b'{"id": "x", "call": "datastore.get"}',
        b"\xff",
        b"[" * 100_000,
        b"x" * (MAX_FRAME + 1),
    ],
)
def test_line_that_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(BrokenFrame):
        decode(line)


def test_frames_are_lines_of_json() -> None:
    start = encode_start(Start(entry_point="/e", pack="p", action="p.a", parameters={"x": "\n"}, config={}))
    assert start.count(b"\n") == 1
    assert json.loads(start)["start"]["parameters"] == {"x": "\n"}
    assert decode(b'{"result": null}') == Returned(None, None)
    assert json.loads(encode_error(Call(3, "datastore.get", {}), "no")) == {"id": 3, "error": "no"}
