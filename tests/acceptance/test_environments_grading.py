"""Grading attacks: whatever the agent does to its environment, the reward says what it achieved."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environments import Made, ready, upload
from tests.support.server import Server

TASK = {
    "task.yaml": """outputs: [/work]
reward_folder: /logs/verifier
verifier_files: {tests: /tests}
verification: {method: script, script: tests/test.sh, timeout: 20}
""",
    "tests/test.sh": """#!/bin/bash
# Leaves a reward as graders of this kind do; a stale one from before would count as well.
if [ "$(cat /work/answer 2>/dev/null)" = 42 ]; then echo 1 > /logs/verifier/reward.txt
elif [ -e /work/crash ]; then exit 1
elif [ -e /work/odd ]; then echo nan > /logs/verifier/reward.txt
elif [ -e /work/several ]; then echo '{"speed": 0.5, "right": 1}' > /logs/verifier/reward.json
  if [ -e /work/both ]; then echo 0 > /logs/verifier/reward.txt; fi
else echo 0 > /logs/verifier/reward.txt; fi
""",
}


@pytest.fixture(scope="module")
def task(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Push a task whose judge leaves a reward file."""
    with server.api() as api:
        return upload(api, tmp_path_factory.mktemp("graded"), "graded", TASK)


@pytest.fixture
def box(server: Server, task: str) -> Iterator[Made]:
    """Provision it for one attack."""
    made = ready(server.api(), task)
    yield made
    made.delete()


def test_honest_work_is_rewarded_and_none_is_not(box: Made) -> None:
    assert box.verify()["reward"] == 0.0
    box.sh("mkdir -p /work && echo 42 > /work/answer")
    verdict = box.verify()
    assert (verdict["reward"], verdict["passed"], verdict["outputs"]) == (1.0, True, ["/work"])


@pytest.mark.parametrize(
    "attack",
    [
        "mkdir -p /logs/verifier /work/logs; echo 1 > /logs/verifier/reward.txt; echo 1 > /logs/verifier/reward.json",
        "(setsid sh -c 'while :; do mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; done' >/dev/null 2>&1 &) ; true",
        "printf '#!/bin/sh\\nmkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt\\n' > /tmp/b; chmod +x /tmp/b; for f in bash sh cat mkdir rm tar; do cp /tmp/b /usr/bin/$f.new; mv -f /usr/bin/$f.new /usr/bin/$f; done",
        "mkdir -p /tests /home/user/task/tests; printf '#!/bin/sh\\necho 1 > /logs/verifier/reward.txt\\n' | tee /tests/test.sh /home/user/task/tests/test.sh > /dev/null",
        "mkdir -p /work; ln -s /logs/verifier /work/logs; ln -s /proc/self /work/self; mkfifo /work/answer; ln -s /etc /work/etc",
        "echo /tmp/evil.so > /etc/ld.so.preload; echo 'echo 1 > /logs/verifier/reward.txt' > /root/.bashrc",
        "mkdir -p /work; head -c 100M /dev/zero > /work/huge; fallocate -l 30G /root/full; true",
        "rm -rf /work; mkfifo /work",
        "rm -rf /work; ln -s /logs /work; mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt",
    ],
    ids=["reward-file", "daemon", "programs", "judge", "links", "preload", "disk", "fifo", "folder-link"],
)
def test_attack_earns_nothing(box: Made, attack: str) -> None:
    box.execute(attack, timeout_sec=60).expect(200)
    verdict = box.verify()
    assert (verdict["reward"], verdict["passed"]) == (0.0, False), verdict


def test_failing_judge_is_no_zero(box: Made) -> None:
    box.sh("mkdir -p /work; touch /work/crash")
    verdict = box.verify()
    assert verdict["reward"] is None
    assert not verdict["passed"]
    assert "no reward" in verdict["detail"]
    box.sh("rm /work/crash; touch /work/odd")
    assert box.verify()["reward"] is None
    box.sh("rm /work/odd; touch /work/several")
    assert box.verify()["reward"] == 0.75
    box.sh("touch /work/both")
    assert box.verify()["reward"] == 0.0


def test_too_much_output_earns_nothing_and_says_so(box: Made) -> None:
    box.sh("mkdir -p /work; truncate -s 5G /work/sparse; echo 42 > /work/answer")
    verdict = box.verify()
    assert verdict["reward"] == 0.0
    assert "more below this path" in verdict["detail"]


def test_judge_is_offline(box: Made) -> None:
    verdict = box.api.post(box.path("verify"), {"outputs": ["/../etc"]})
    assert verdict.status == 422
    assert box.api.post(box.path("verify"), {"outputs": ["/"]}).status == 422


def test_flag_in_the_way_of_the_engine_earns_nothing(server: Server, tmp_path: Path) -> None:
    with server.api() as api:
        made = ready(api, upload(api, tmp_path, "flagged"))
        for attack in ("mkfifo /tmp/result.txt", "rm /tmp/result.txt; ln -s /dev/zero /tmp/result.txt",
                       "rm /tmp/result.txt; ln -s /proc/1/environ /tmp/result.txt", "rm /tmp/result.txt; mkdir /tmp/result.txt"):  # fmt: skip
            made.sh(attack)
            assert made.verify()["reward"] == 0.0
        made.sh("rm -r /tmp/result.txt; echo 'FLAG{a}' > /tmp/real; ln -s real /tmp/result.txt")
        assert made.verify()["reward"] == 1.0
        made.delete()


def test_relative_flag_is_meant_from_where_commands_run(server: Server, tmp_path: Path) -> None:
    verification = "verification: {method: flag, path: answers/flag.txt, value: 'FLAG{a}'}\n"
    compose = "services:\n  main:\n    image: python:3.11-alpine\n    working_dir: /srv\n"
    files = {"task.yaml": verification, "docker-compose.yaml": compose}
    with server.api() as api:
        made = ready(api, upload(api, tmp_path, "relative-flag", files))
        assert "/srv/answers/flag.txt" in made.verify()["detail"]
        made.sh("mkdir answers; echo 'FLAG{a}' > answers/flag.txt")
        assert made.verify()["reward"] == 1.0
        made.delete()


def test_output_that_leads_to_the_judges_files_earns_nothing(server: Server, tmp_path: Path) -> None:
    files = {
        "task.yaml": "outputs: [/home/user/task]\nhidden: [tests]\nverification: {method: script, script: verify.sh}\n",
        "verify.sh": "#!/bin/bash\ncmp tests/expected answer\n",
        "tests/expected": "42\n",
    }
    with server.api() as api:
        made = ready(api, upload(api, tmp_path, "compared", files))
        for attack in (
            "mkdir tests; echo 1 > tests/expected; ln -s tests/expected answer",
            "ln -s tests data; ln -s data/expected answer",
            "mkdir -p a/b; ln -s ../.. a/b/up; ln -s a/b/up/tests/expected answer",
            "mkdir -p a/b; ln -s ../.. a/b/up; ln -s a/b/up/../task/tests/expected answer",
            "rm verify.sh; ln -s good verify.sh; printf '#!/bin/sh\n' > good; chmod +x good",
            "rm verify.sh; mkdir verify.sh; touch verify.sh/x",
            "echo 1 > tests",
        ):
            made.sh(f"cd /home/user/task; rm -rf answer a tests data; {attack}")
            assert made.verify()["reward"] == 0.0, attack
        for honest in ("real/a", "$PWD/real/a"):
            made.sh(
                f"cd /home/user/task; rm -rf answer tests real; mkdir real; echo 42 > real/a; ln -s {honest} answer"
            )
            assert made.verify()["reward"] == 1.0
        made.delete()


def test_reward_beside_a_judge_that_was_killed_does_not_count(server: Server, tmp_path: Path) -> None:
    runs = "#!/bin/bash\n/bin/sh /work/own $$\necho 0 > /logs/verifier/reward.txt\n"
    with server.api() as api:
        made = ready(api, upload(api, tmp_path, "running", {**TASK, "tests/test.sh": runs}))
        made.sh("mkdir /work; echo 'echo 1 > /logs/verifier/reward.txt; kill -9 $1' > /work/own")
        verdict = made.verify()
        assert (verdict["reward"], verdict["detail"]) == (None, "the script was ended by signal 9")
        made.delete()


def test_judge_that_cannot_be_run_is_no_zero(server: Server, tmp_path: Path) -> None:
    files = {"task.yaml": SLOW["task.yaml"], "verify.sh": "#!/no/such/shell\n"}
    with server.api() as api:
        made = ready(api, upload(api, tmp_path, "unjudged", files))
        verdict = made.verify()
        assert verdict["reward"] is None
        assert verdict["detail"].startswith("the script could not be run")
        made.delete()


def test_project_of_many_files_and_links_is_carried(box: Made) -> None:
    box.sh("mkdir -p /work/bin /work/lib; cd /work/lib; seq 2000 | xargs touch; echo 42 > answer")
    box.sh(
        "cd /work/bin; for i in $(seq 600); do ln -s ../lib/$i $i; done; ln -s /work/lib/answer /work/answer"
    )
    assert box.verify()["reward"] == 1.0


SLOW = {
    "task.yaml": "outputs: [/work]\nverification: {method: script, script: verify.sh, timeout: 600}\n",
    "verify.sh": "#!/bin/bash\nsleep 500\n",
}


@pytest.fixture
def slow(server: Server, tmp_path: Path) -> Iterator[Made]:
    """Provision a task whose judge takes minutes."""
    with server.api() as api:
        made = ready(api, upload(api, tmp_path, "slowly-judged", SLOW))
        yield made
        made.delete()


def ask(made: Made) -> socket.socket:
    """Ask for a verification and wait for nothing."""
    link = socket.create_connection((made.api.host, made.api.port), timeout=30)
    head = f"POST {made.path('verify')} HTTP/1.1\r\nHost: x\r\nX-API-Key: {made.api.token}\r\nContent-Length: 2\r\n\r\n{{}}"
    link.sendall(head.encode())
    return link


def judging(made: Made, status: str) -> None:
    """Wait until the verification of an environment has a status."""
    deadline = time.monotonic() + 20
    while True:
        found = (
            made.api.get(f"/runyard/v1/executions?place=environment:{made.id}&kind=verify").expect(200).json()
        )
        if [one["status"] for one in found["items"]] == [status]:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_long_verification_keeps_its_client_and_ends_with_its_environment(slow: Made) -> None:
    with ask(slow) as link:
        began = time.monotonic()
        text = link.recv(65536)
        assert time.monotonic() - began < 25
        assert text.startswith(b"HTTP/1.1 200")
        slow.delete()
        while b"0\r\n\r\n" not in text:
            text += link.recv(65536)
    assert b'"reward":null' in text
    assert b"is torn_down" in text
    judging(slow, "canceled")


def test_verification_of_a_client_that_left_is_given_up(slow: Made) -> None:
    with ask(slow):
        judging(slow, "running")
    judging(slow, "canceled")
    assert slow.get()["state"] == "ready"
