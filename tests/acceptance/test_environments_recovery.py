"""Environments outlive the server, however it ends; many of them at once."""

import concurrent.futures
import time
import urllib.request
from pathlib import Path

from tests.conftest import ServerFactory
from tests.support.environments import BASE, Made, create, ready, upload
from tests.support.server import Server

SERVED = {
    "task.yaml": "ports: {web: [8080]}\n",
    "docker-compose.yaml": "services:\n  web:\n    build: ./web\n    ports: [8080]\n",
    "web/Dockerfile": (
        "FROM python:3.11-alpine\nWORKDIR /srv\nCOPY . .\n"
        'RUN test -e /tmp/slow || sleep 1.5\nCMD ["python", "-m", "http.server", "8080"]\n'
    ),
    "web/index.html": "here\n",
}


def page(made: Made) -> str:
    """Fetch the page of the service from the host."""
    url = made.get()["service_urls"]["web"]["url"]
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode()).strip()


def _last_script(made: Made, *wanted: str) -> None:
    """Wait until the teardown script of an environment ran so often, with these ends, the first one first."""
    deadline = time.monotonic() + 30
    while True:
        found = (
            made.api.get(f"/runyard/v1/executions?place=environment:{made.id}&text=teardown")
            .expect(200)
            .json()["items"]
        )
        if [one["status"] for one in reversed(found)] == list(wanted):
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_environments_outlive_a_kill_at_any_point(fresh_server: ServerFactory, tmp_path: Path) -> None:
    one = fresh_server()
    api = one.api()
    served, plain = upload(api, tmp_path, "served", SERVED), upload(api, tmp_path, "plain")
    farewell = "#!/bin/bash\necho leaving $word\n[ $word = slow ] && [ ! -e /root/again ] && touch /root/again && sleep 30\nexit 0\n"
    slow = upload(
        api, tmp_path, "slow", {"task.yaml": "teardown: {script: teardown.sh}\n", "teardown.sh": farewell}
    )
    kept, leaving, doomed = (
        ready(api, plain),
        ready(api, slow, inputs={"word": "slow"}),
        ready(api, plain, timeout_sec=2),
    )
    kept.sh("echo mine > /root/file; setsid sleep 303 &")
    building = create(api, served)
    assert building.first["state"] == "building"
    leaving.delete()
    _last_script(leaving, "running")
    api.close()
    one.kill()
    one.start()
    assert kept.sh("cat /root/file; pgrep -fc '^sleep 303' || true") == "mine\n0"
    assert kept.get()["state"] == "ready"
    assert leaving.get()["state"] == "torn_down"
    _last_script(leaving, "abandoned", "succeeded")
    building.state("ready")
    assert page(building) == "here"
    assert building.sh("curl -s http://web:8080/") == "here"
    doomed.state("torn_down", seconds=15)
    place = building.get()["service_urls"]["web"]["url"]
    kept.delete()
    api.close()
    one.restart()
    building.state("ready")
    assert building.sh("curl -s $web_url/") == "here"
    assert building.get()["service_urls"]["web"]["url"] == place
    assert page(building) == "here"
    assert building.sh(f"curl -s {place}/") == "here"
    building.delete()
    deadline = time.monotonic() + 20
    while any(name.startswith((str(building.id), "build-")) for name in one.kept_layers()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    api.close()


def test_environment_that_is_torn_down_before_it_is_back_leaves_nothing(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    one = fresh_server(ENVIRONMENTS__PROVISIONS_AT_ONCE="1")
    api = one.api()
    start = "[ -e /root/again ] && sleep 1; touch /root/again; exec python3 -m http.server 8080"
    compose = f"services:\n  web:\n    image: python:3.11-alpine\n    command: [sh, -c, '{start}']\n"
    files = {"task.yaml": "ports: {web: [8080]}\n", "docker-compose.yaml": compose}
    lazy = ready(api, upload(api, tmp_path, "lazy", files))
    waiting = ready(api, upload(api, tmp_path, "plain"))
    api.close()
    one.restart()
    waiting.delete()  # its turn to come back is after the other's
    assert lazy.sh("true") == ""
    time.sleep(0.5)  # more than it takes to come back: nothing tells that it does not
    found = one.kept_layers()
    assert any(name.startswith(lazy.id) for name in found)
    assert not [name for name in found if name.startswith(waiting.id)]
    api.close()


def test_environment_whose_secrets_are_lost_fails_alone(fresh_server: ServerFactory, tmp_path: Path) -> None:
    one = fresh_server()
    api = one.api()
    task = upload(api, tmp_path, "sealed")
    secret = api.post("/api/v1/user/secrets", {"name": "key", "value": "value"}).expect(201).json()["id"]
    lost, kept = ready(api, task, secret_ids=[secret]), ready(api, task)
    api.close()
    one.stop()
    (one.data_dir / "keys").rename(tmp_path / "keys")
    one.start()
    assert kept.sh("true") == ""
    assert lost.state("failed")["error"].startswith("its secrets are lost")
    api.close()


def test_sixty_four_environments_live_at_once(server: Server, tmp_path: Path) -> None:
    api = server.api()
    task = upload(api, tmp_path, "many")

    def whole(number: int) -> tuple[str, str]:
        with server.api() as own:
            made = ready(own, task, inputs={"number": number})
            return made.id, made.sh("echo $NUMBER")

    def end(environment: str) -> int:
        with server.api() as own:
            return own.delete(f"{BASE}/{environment}").status

    def seen() -> set[str]:
        listed = api.get(f"{BASE}?state=ready&limit=200").expect(200).json()
        return {one["id"] for one in listed["environments"]}

    with concurrent.futures.ThreadPoolExecutor(64) as threads:
        found = list(threads.map(whole, range(64)))
        assert [output for _, output in found] == [str(number) for number in range(64)]
        made = {environment for environment, _ in found}
        assert made <= seen()
        assert set(threads.map(end, made)) == {204}
    assert not made & seen()
    api.close()
