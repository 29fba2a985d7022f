"""Packs on disk: what is loaded, what is refused, and where the fault is."""

import os
import re
import time
from pathlib import Path

import pytest

from runyard.actions.documents import decode, read_yaml
from runyard.actions.errors import InvalidMetadata, InvalidParameters, ParameterUnresolved
from runyard.actions.model import SYSTEM_PACKS, make_config_schema
from runyard.actions.packs.config import check_config, resolve_config
from runyard.actions.packs.folder import PackFolder, entry_point_path
from runyard.actions.packs.loader import find_packs, load_pack, system_packs
from runyard.actions.values import Json
from tests.fakes.datastore import FakeDatastore

PACK = "name: mypack\nversion: 1.0.0\nauthor: ann\n"
ACTION = "name: {name}\nrunner_type: local-shell-cmd\nparameters:\n  cmd:\n    required: true\n"


def pack(tmp_path: Path, **files: str) -> Path:
    root = tmp_path / "mypack"
    for name, text in {"pack.yaml": PACK, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_system_packs_load_without_a_problem() -> None:
    packs = [load_pack(folder) for folder in system_packs()]
    assert {one.pack.ref for one in packs} == SYSTEM_PACKS
    assert [str(problem) for one in packs for problem in one.problems] == []


def test_core_pack_has_the_actions_of_the_contract() -> None:
    core = next(load_pack(folder) for folder in system_packs() if folder.name == "core")
    names = (
        "local local_sudo remote remote_sudo echo error noop http uuid pause ask announcement inject_trigger sendmail "
        "winrm_cmd winrm_ps_cmd"
    )
    assert {action.name for action in core.actions} == set(names.split())
    by_name = {action.name: action for action in core.actions}
    assert by_name["echo"].parameters["cmd"] == {"default": 'echo "{{message}}"', "immutable": True}
    assert by_name["local"].parameters["cmd"]["required"] is True
    assert by_name["local"].parameters["sudo"] == {"immutable": True}


def test_pack_is_loaded_with_all_that_it_has(tmp_path: Path) -> None:
    root = pack(
        tmp_path,
        **{
            "actions/a.yaml": ACTION.format(name="a"),
            "actions/b.yml": ACTION.format(name="b"),
            "actions/c.json": '{"name": "c", "runner_type": "noop"}',
            "actions/workflows/w.yaml": "not: metadata",
            "actions/.hidden.yaml": "not: metadata",
            "config.schema.yaml": "key:\n  type: string\n  secret: true\n",
            "rules/r.yaml": "name: r\n",
            "aliases/x.yaml": "name: x\nformats: [one]\n",
            "README.md": "text",
        },
    )
    loaded = load_pack(root)
    assert [action.ref for action in loaded.actions] == ["mypack.a", "mypack.b", "mypack.c"]
    assert loaded.actions[0].metadata_file == "actions/a.yaml"
    assert loaded.config_schema is not None
    assert loaded.config_schema.attributes["key"]["secret"] is True
    assert [kept.value for kept in loaded.kept["aliases"]] == [{"name": "x", "formats": ["one"]}]
    assert [kept.file for kept in loaded.kept["rules"]] == ["rules/r.yaml"]
    assert loaded.kept["sensors"] == ()
    assert "actions/workflows/w.yaml" in loaded.pack.files
    assert loaded.pack.path == str(root)
    assert loaded.problems == ()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: a\nrunner_type: nope\n", 1, "RunnerType nope is not found"),
        ("runner_type: noop\n", 1, "'name' is a required property"),
        ("name: a\nrunner_type: noop\nbogus: 1\n", 1, "('bogus' was unexpected)"),
        ("name: a\nrunner_type: noop\nparameters:\n  p:\n    type: wrong\n", 5, "'wrong' is not valid under"),
        (
            "name: a\nrunner_type: noop\npack: other\n",
            3,
            'Model is in pack "mypack" but field "pack" is different: other',
        ),
        ("name: a\n  runner_type: noop\n", 2, "mapping values are not allowed"),
        ("name: [a\n", 2, "did not find expected ',' or ']'"),
        ("name: a\nrunner_type: noop\nentry_point: ../../x\n", 1, "does not stay inside the pack"),
        ("name: a\nrunner_type: noop\nentry_point: /etc/passwd\n", 1, "does not stay inside the pack"),
        (
            "name: a\nrunner_type: python-script\nentry_point: x.py\n",
            0,
            "the entry point 'x.py' does not exist",
        ),
        ("name: !!python/object/apply:os.system [id]\n", 1, "is not allowed"),
        ("name: &a [*a]\n", 1, "alias to something that holds it"),
        ("name: " + "[" * 200 + "]" * 200, 1, "nested too deeply"),
        ("name: 1" + "0" * 100 + "\n", 1, "a number that is too long"),
        ("name: .inf\nrunner_type: noop", 0, "no place in JSON"),
        ("", 1, "None is not of type 'object'"),
        ("- a\n", 1, "['a'] is not of type 'object'"),
        ("a: 1\n---\nb: 2\n", 2, "but found another document"),
        (
            "name: a\nrunner_type: local-shell-cmd\nparameters:\n  cmd:\n    type: integer\n",
            1,
            'The attribute "type" for the runner parameter "cmd" in action "mypack.a" cannot be overridden.',
        ),
    ],
)
def test_bad_action_file_is_a_problem_with_its_line_and_others_are_loaded(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    root = pack(tmp_path, **{"actions/bad.yaml": text, "actions/good.yaml": ACTION.format(name="good")})
    loaded = load_pack(root)
    assert "good" in [action.name for action in loaded.actions]
    assert len(loaded.problems) == 1
    problem = loaded.problems[0]
    assert (problem.file, problem.line) == ("actions/bad.yaml", line)
    assert message in problem.message


def test_two_actions_of_one_name_are_a_problem(tmp_path: Path) -> None:
    root = pack(
        tmp_path, **{"actions/a.yaml": ACTION.format(name="x"), "actions/b.yaml": ACTION.format(name="x")}
    )
    loaded = load_pack(root)
    assert [action.metadata_file for action in loaded.actions] == ["actions/a.yaml"]
    assert [str(problem) for problem in loaded.problems] == [
        "actions/b.yaml: the action 'x' is in actions/a.yaml already"
    ]


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    root = pack(tmp_path)
    (root / "actions").mkdir()
    (root / "actions" / "a.yaml").write_bytes(b"name: a\nx: \xff\n")
    assert [str(problem) for problem in load_pack(root).problems] == [
        "actions/a.yaml:2: byte 11 is not UTF-8; the file must be UTF-8 text"
    ]
    assert decode(b"\xef\xbb\xbfa") == "a"


def test_links_out_of_the_pack_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    root = pack(tmp_path)
    (tmp_path / "outside.yaml").write_text(ACTION.format(name="stolen"))
    actions = root / "actions"
    actions.mkdir()
    (actions / "file.yaml").symlink_to(tmp_path / "outside.yaml")
    (actions / "null.yaml").symlink_to("/dev/null")
    (actions / "self.yaml").symlink_to("self.yaml")
    (actions / "folder.yaml").mkdir()
    (actions / "inside.yaml").symlink_to("real.yaml")
    (actions / "real.yaml").write_text(ACTION.format(name="fine"))
    os.mkfifo(actions / "pipe.yaml")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "r.yaml").write_text("secret: 1")
    (root / "rules").symlink_to(tmp_path / "rules")
    loaded = load_pack(root)
    assert {action.name for action in loaded.actions} == {"fine"}
    problems = {problem.file: problem.message for problem in loaded.problems}
    assert "leads out of the pack" in problems["actions/file.yaml"]
    assert "not a regular file" in problems["actions/null.yaml"]
    assert "cannot be opened" in problems["actions/self.yaml"]
    assert "not a regular file" in problems["actions/folder.yaml"]
    assert "not a regular file" in problems["actions/pipe.yaml"]
    assert "leads out of the pack" in problems["rules"]
    assert "already" in problems["actions/real.yaml"]


def test_pack_without_usable_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidMetadata, match="the file does not exist"):
        load_pack(tmp_path)
    with pytest.raises(InvalidMetadata, match="there is no folder"):
        load_pack(tmp_path / "nope")
    with pytest.raises(InvalidMetadata) as failure:
        load_pack(pack(tmp_path, **{"pack.yaml": "name: x\nauthor: a\nversion: one\n"}))
    assert failure.value.where == "pack.yaml:3"


def test_entry_point_stays_in_the_pack(tmp_path: Path) -> None:
    root = pack(tmp_path, **{"actions/lib/run.py": "", "etc/x.py": ""})
    assert entry_point_path(root, "lib/run.py") == root / "actions" / "lib" / "run.py"
    (root / "actions" / "link.py").symlink_to("/etc/hostname")
    for bad in ("../../../etc/passwd", "/etc/passwd", "link.py", "nope.py", "lib", "a\0b"):
        with pytest.raises(InvalidMetadata):
            entry_point_path(root, bad)


def test_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    root = pack(tmp_path, **{"actions/a.yaml": "#" * (2 << 20)})
    with pytest.raises(InvalidMetadata, match="more than 1048576 bytes"):
        PackFolder(root).read("actions/a.yaml")
    with pytest.raises(InvalidMetadata, match="does not stay inside"):
        PackFolder(root).read("../x")


def test_last_root_wins_when_packs_are_found_twice(tmp_path: Path) -> None:
    first, second = pack(tmp_path / "one"), pack(tmp_path / "two")
    assert find_packs(tmp_path / "one", tmp_path / "nope") == [first]
    assert find_packs(tmp_path / "one", tmp_path / "two") == [second]


BOMBS = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "merges": "a: &a {x: 1}\n"
    + "".join(
        f"{n}: &{n} {{<<: [{','.join([f'*{p}'] * 9)}]}}\n"
        for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "flow nesting": "[" * 100_000,
    "block nesting": "".join(f"{' ' * n}a:\n" for n in range(900)),
    "sequence nesting": "- " * 5000 + "x",
    "sexagesimal": "a: 1" + ":1" * 400_000,
    "many items": "\n".join("- x" for _ in range(250_000)),
    "long key": f"? {'k' * 500_000}\n: 1\n? {'k' * 2_000_000}\n",
    "anchors": "\n".join(f"a{n}: &a{n} x" for n in range(120_000))[: 1 << 20],
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_hostile_yaml_is_refused_quickly(text: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidMetadata):
        read_yaml(text)
    assert time.thread_time() - began < 3.0


def test_yaml_gives_what_json_can_say() -> None:
    text = "date: 2024-01-02\non: yes\n7: seven\nnull: x\n2.5: y\nbase: &b {k: v}\nmerged: {<<: *b, l: w}\n"
    expected = {"date": "2024-01-02", "true": True, "7": "seven", "null": "x", "2.5": "y", "base": {"k": "v"}}
    assert read_yaml(text).value == {**expected, "merged": {"k": "v", "l": "w"}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'url' is a required property"),
        ({"url": 5}, "5 is not of type 'string'"),
        ({"url": "u", "other": 1}, "Additional properties are not allowed ('other' was unexpected)"),
        ({"url": "u", "db": {"port": "x"}}, "'x' is not of type 'integer'"),
    ],
)
def test_bad_configuration_is_refused(values: dict[str, Json], message: str) -> None:
    with pytest.raises(InvalidParameters, match=re.escape(message)):
        check_config(make_config_schema(CONFIG, pack="p"), values)


CONFIG: dict[str, Json] = {
    "url": {"type": "string", "required": True},
    "password": {"type": "string", "secret": True},
    "db": {
        "type": "object",
        "properties": {
            "port": {"type": "integer", "default": 5432},
            "pw": {"type": "string", "secret": True},
        },
    },
    "hosts": {"type": "array", "default": ["a"]},
}


def test_configuration_is_made_of_defaults_values_and_keys() -> None:
    store = FakeDatastore(system={"url": "http://x", "pw!": "s3cret", "open": "plain"}, user={"mine!": "m"})
    schema = make_config_schema(CONFIG, pack="p")
    values = {
        "url": "{{ st2kv.system.url }}/{{ st2kv.system.none }}",
        "password": "{{ st2kv.system.pw }}",
        "db": {"pw": "{{ st2kv.user.mine }}"},
    }
    check_config(schema, values)
    assert resolve_config(schema, values, store) == {
        "url": "http://x/",
        "password": "s3cret",
        "db": {"port": 5432, "pw": "m"},
        "hosts": ["a"],
    }
    assert resolve_config(schema, {"password": "{{ st2kv.system.open }}"}, store)["password"] == "plain"
    assert resolve_config(None, {"any": ["{{ st2kv.system.open }}"]}, store) == {"any": ["plain"]}
    with pytest.raises(ParameterUnresolved, match='Failed to render parameter "url"'):
        resolve_config(schema, {"url": "{{ 1 / 0 }}"}, store)
