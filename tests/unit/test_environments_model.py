"""States of environments, their token, and what a plain shell may be given."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.environments import access
from runyard.environments.errors import TooManyExecutes, WrongExecuteToken
from runyard.environments.model import (
    ENDED,
    Building,
    Built,
    Command,
    Definition,
    Environment,
    Extend,
    Fail,
    Freed,
    Moved,
    Ready,
    State,
    TearDown,
    apply,
)
from runyard.environments.resident import Gate
from runyard.environments.rewards import read_reward, translated
from runyard.environments.running import Caught
from runyard.environments.shells import means_the_same
from runyard.environments.variables import command_variables
from runyard.executions.drain import HeadTail
from runyard.kernel.ids import AccountId, EnvironmentId, ExecutionId, ProjectId, UserId
from runyard.kernel.transitions import Changed

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ORDER = list(State)
COMMANDS: list[Command] = [
    Building(ExecutionId.new()),
    Built(NOW + timedelta(hours=1)),
    Ready({"web": {}}, {"a": 1}),
    Moved({}),
    Fail("broken"),
    TearDown("over"),
    Extend(NOW + timedelta(hours=2)),
    Freed(),
]


def fresh() -> Environment:
    """Return an environment at its beginning."""
    return Environment(
        id=EnvironmentId.new(),
        account_id=AccountId.new(),
        project_id=ProjectId.new(),
        project_path="/a/b/",
        owner_user_id=UserId.new(),
        actor="admin",
        task_ref="default/demo@0.1.0",
        definition=Definition(package="default/demo@0.1.0", layer="ab"),
        state=State.BUILDING,
        created_at=NOW,
        updated_at=NOW,
    )


@given(st.lists(st.sampled_from(COMMANDS), max_size=8))
@settings(max_examples=60, deadline=None)
def test_states_go_forward_only_whatever_is_ordered(commands: list[Command]) -> None:
    environment = fresh()
    for command in commands:
        before = environment
        outcome = apply(before, command, actor="x", now=NOW)
        if not isinstance(outcome, Changed):
            assert outcome.reason
            continue
        environment = outcome.value
        assert ORDER.index(environment.state) >= ORDER.index(before.state)
        assert (environment.error is not None) == (environment.state is State.FAILED)
        if before.state in ENDED:
            assert isinstance(command, Freed)
        if environment.freed:
            assert environment.state in ENDED
        if environment.service_urls is not None:
            assert environment.state is State.READY


def test_token_is_taken_in_both_spellings_and_kept_as_a_digest() -> None:
    token, digest = access.new_token()
    assert token.encode() not in digest
    for header in (token, f"Bearer {token}", f"bearer   {token} "):
        access.check(header, digest)
    for wrong in (None, "", "Bearer", f"{token}x", f"Basic {token}"):
        with pytest.raises(WrongExecuteToken):
            access.check(wrong, digest)


@pytest.mark.parametrize(
    "script",
    [
        "echo hi",
        "ls -la /tmp | wc -l",
        "cd /srv; cat a.txt && python3 x.py",
        "A=1 B='x y' env > out.txt 2>&1",
        "exit 3",
    ],
)
def test_plain_scripts_mean_the_same_to_every_shell(script: str) -> None:
    assert means_the_same(script)


@pytest.mark.parametrize(
    "script",
    [
        "echo -e 'a'", "echo 'a\\n'", "[[ a = b ]]", "echo $RANDOM", "source x", ". ./x", "a=(1 2)", "echo {1..3}", "x+=1",
        "cmd |& cat", "echo `id`", "for i in 1; do echo; done", "printf '%q' x", "f() { :; }", "cat <<< x", "time ls",
        "exit x", "ls &> out", "test a == b", "export A=1", "echo a\\b", "cat <(ls)", "true & disown", "let x=1", "!ls",
        "cd a b", "PPID=1", "OPTIND=x true", "BASH_ENV=x ls", ">o echo -e a", "2>o kill 1", "1>o test a", "+x",
    ],
)  # fmt: skip
def test_scripts_that_shells_read_differently_are_for_bash(script: str) -> None:
    assert not means_the_same(script)


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(2, 60))
@settings(max_examples=80, deadline=None)
def test_output_keeps_head_and_tail_and_counts_the_middle(pieces: list[bytes], limit: int) -> None:
    kept, whole = HeadTail(limit), b"".join(pieces)
    for piece in pieces:
        kept.take(memoryview(piece))
    head, left_out, tail = kept.parts()
    assert len(head) + len(tail) <= limit
    assert len(head) + left_out + len(tail) == len(whole) == kept.total
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert kept.truncated == (left_out > 0)
    if not left_out:
        assert head + tail == whole


def test_left_out_output_is_marked_without_brackets() -> None:
    text = Caught(head=b"a", left_out=7, tail=b"\xffb").text
    assert text == "a\n... 7 bytes left out ...\n\ufffdb"


def test_variables_come_in_both_spellings_and_never_replace_basic_ones() -> None:
    found = command_variables(
        templates={
            "target": "x",
            "path": "/evil",
            "ld_preload": "no",
            "bad-name": 1,
            "flag": True,
            "n": {"a": 1},
        },
        models={"judge": "m1"},
        secrets={"KEY": "s"},
    )
    assert found == {
        "target": "x", "TARGET": "x", "path": "/evil", "ld_preload": "no", "flag": "true", "FLAG": "true",
        "n": '{"a":1}', "N": '{"a":1}', "MODEL_JUDGE": "m1", "KEY": "s",
    }  # fmt: skip


async def test_gate_lets_some_in_holds_some_and_refuses_the_rest() -> None:
    gate = Gate(1, 1, 0.02)
    await gate.enter()
    with pytest.raises(TooManyExecutes, match="none ended in time"):
        await gate.enter()
    gate.leave()
    await gate.enter()
    full = Gate(1, 0, 5)
    await full.enter()
    with pytest.raises(TooManyExecutes, match="wait already"):
        await full.enter()


def test_verification_is_told_in_the_words_of_graders_by_execute() -> None:
    flag = {"method": "flag", "path": "/tmp/f", "value": "FLAG{a}"}
    assert translated(flag) == {
        "method": "env_flag", "flag_path": "/tmp/f", "timeout_sec": 10, "expected": "FLAG{a}",
    }  # fmt: skip
    digits = "ab" * 32
    hashed = translated(
        {"method": "flag", "submission_path": "/tmp/f", "flag_hash": f"SHA256:{digits.upper()}"}
    )
    assert hashed == {
        "method": "env_flag", "flag_path": "/tmp/f", "timeout_sec": 10, "hash": f"sha256:{digits}",
    }  # fmt: skip
    assert translated({**flag, "value": " FLAG{a}\n"}) == translated(flag)
    assert translated({"script": "verify.sh", "timeout": "9"}) == {
        "method": "env_script",
        "script_path": "/home/user/task/verify.sh",
        "expected_exit_code": 0,
        "timeout_sec": 9,
    }
    judge = {"method": "outcome_judge", "judge": {"model": "m", "rubric": "x"}}
    old = {"method": "flag", "path": "/tmp/f", "hash": "md5:" + "0" * 32}
    for other in (judge, old):
        assert translated(other) == other


@pytest.mark.parametrize(
    ("name", "text", "reward"),
    [
        ("reward.txt", " 0.5\n", 0.5), ("reward.json", "1", 1.0), ("reward.json", '{"reward": 1, "speed": 0}', 1.0),
        ("reward.json", '{"a": 1, "b": 0}', 0.5), ("reward.txt", "nan", None), ("reward.txt", "", None),
        ("reward.txt", "1e999", None), ("reward.json", "true", None), ("reward.json", '{"a": "1"}', None),
        ("reward.json", "[1]", None), ("reward.json", "{}", None), ("reward.json", "{", None), ("reward.json", "1" + "0" * 400, None),
    ],
)  # fmt: skip
def test_reward_is_one_finite_number_or_none(name: str, text: str, reward: float | None) -> None:
    verdict = read_reward(name, text)
    assert verdict.reward == reward
    assert verdict.passed == (reward is not None and reward >= 1)
