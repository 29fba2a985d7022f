"""The size and shape gate itself. Feeds it small sources; reads no product code."""

from pathlib import Path

import pytest

from scripts import check_sizes as gate

PRODUCT = "src/runyard/runtimes/service.py"


def offences(source: str, path: str = PRODUCT) -> list[str]:
    """Return the hard offences of one source."""
    return [str(one) for one in gate.check_source(path, source) if not one.soft]


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def f(a) -> None: ...\n", "parameter a of f has no type"),
        ("def f(a: int): ...\n", "no return type"),
        ("def f(*a, **b: int) -> None: ...\n", "parameter a of f"),
        ("import subprocess\n", "starts processes"),
        ("from subprocess import run\n", "starts processes"),
        ("from os import fork\n", "starts processes"),
        ("import os\nos.fork()\n", "starts a process"),
        ("import os\nos.posix_spawn('a', [], {})\n", "starts a process"),
        ("import asyncio\nasyncio.create_subprocess_exec('a')\n", "starts a process"),
        ("from datetime import datetime\ndatetime.now()\n", "without a zone"),
        ("from datetime import datetime\ndatetime.utcnow()\n", "without a zone"),
        ("import datetime\ndatetime.datetime(2026, 1, 1)\n", "without a zone"),
        ("import datetime\ndatetime.date.today()\n", "without a zone"),
        ("from datetime import datetime\ndatetime.fromtimestamp(1)\n", "without a zone"),
        ("db.execute(f'DELETE FROM x WHERE id = {i}')\n", "SQL text"),
        ("db.execute('SELECT %s' % i)\n", "SQL text"),
        ("db.execute('SELECT ' + i)\n", "SQL text"),
        ("db.execute('SELECT {}'.format(i))\n", "SQL text"),
        ("q = f'SELECT a FROM {t}'\n", "SQL text built by an f-string"),
        ("db.commit()\n", "a commit outside database/"),
        ("import msgspec\nmsgspec.json.encode({})\n", "kernel.jsons"),
        ("log.info('x', value=token)\n", "a secret in a log call: token"),
        ("self._log.warning('x %s', request.authorization)\n", "a secret in a log call"),
        ("logger.error(f'bad {admin_token}')\n", "a secret in a log call"),
        ("log.info('x', value=value.reveal())\n", "a secret in a log call"),
    ],
)
def test_gate_bad_source_is_refused(source: str, word: str) -> None:
    assert any(word in line for line in offences(source))


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def f(self, a: int) -> None: ...\n",
        "from datetime import UTC, datetime\ndatetime.now(UTC)\ndatetime(2026, 1, 1, tzinfo=UTC)\n",
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(1, UTC)\n",
        "db.execute('SELECT a FROM t WHERE id = ?', (i,))\n",
        "db.execute('SELECT a ' + 'FROM t')\n",
        "db.execute(f'PRAGMA cache_size={size}')\n",
        "label = f'selected {a} from {b}'\n",
        "log.info('x', token_id=token_id, secret_name=name, tokens_seen=3)\n",
        "print(token)\n",
        "def f() -> None:\n    return None\n",
    ],
)
def test_gate_good_source_passes(source: str) -> None:
    assert offences(source) == []


def test_gate_spawn_in_isolation_passes() -> None:
    assert offences("import subprocess\n", "src/runyard/runtimes/isolation/launcher.py") == []


def test_gate_commit_in_database_passes() -> None:
    assert offences("connection.commit()\n", "src/runyard/database/engine.py") == []


def test_gate_product_rules_spare_tests() -> None:
    assert offences("import subprocess\n", "tests/support/server.py") == []


@pytest.mark.parametrize(("lines", "soft", "hard"), [(400, 0, 0), (401, 1, 0), (600, 1, 0), (601, 0, 1)])
def test_gate_file_length_has_soft_and_hard_limit(lines: int, soft: int, hard: int) -> None:
    found = list(gate.check_source(PRODUCT, "\n" * lines))
    assert [len([o for o in found if o.soft]), len([o for o in found if not o.soft])] == [soft, hard]


@pytest.mark.parametrize(("lines", "soft", "hard"), [(40, 0, 0), (41, 1, 0), (60, 1, 0), (61, 0, 1)])
def test_gate_function_length_has_soft_and_hard_limit(lines: int, soft: int, hard: int) -> None:
    source = "def f() -> None:\n" + "    a = 1\n" * (lines - 1)
    found = list(gate.check_source(PRODUCT, source))
    assert [len([o for o in found if o.soft]), len([o for o in found if not o.soft])] == [soft, hard]


def test_gate_seven_parameters_is_advice() -> None:
    source = "class A:\n    def f(self, " + ", ".join(f"a{i}: int" for i in range(7)) + ") -> None: ...\n"
    found = list(gate.check_source(PRODUCT, source))
    assert [(one.soft, one.line) for one in found] == [(True, 2)]


def test_gate_tree_prints_file_and_line_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "src" / "a.py"
    bad.parent.mkdir()
    bad.write_text("x = 1\nimport subprocess\n")
    assert gate.main([str(tmp_path)]) == 1
    assert "src/a.py:2:" in capsys.readouterr().out
    bad.write_text("x = 1\n")
    assert gate.main([str(tmp_path)]) == 0
