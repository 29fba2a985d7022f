"""Tasks with services: the scaffold of `dn task init`, a web app beside a database of its own, what is refused."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.dn import Dn
from tests.support.environments import Made, create, ready, upload
from tests.support.http import Api
from tests.support.server import Server

DATABASE = """#!/usr/bin/python3
import socketserver, pathlib
rows = {"secret": pathlib.Path("/var/lib/rows/secret").read_text().strip()}
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            verb, _, key = line.decode().strip().partition(" ")
            self.wfile.write((rows.get(key, "none") + "\\n").encode() if verb == "GET" else b"error\\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("0.0.0.0", 5432), Handler).serve_forever()
"""
WEB = """#!/usr/bin/python3
import http.server, os, socket, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        key = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("key", ["public"])[0]
        with socket.create_connection((os.environ["DATABASE"], 5432)) as link:
            link.sendall(f"GET {key}\\n".encode())
            body = link.makefile().readline().encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def log_message(self, *args): print("asked", self.path, flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""
COMPOSE = """
services:
  web:
    build: ./web
    ports: ["8080"]
    environment:
      DATABASE: ${DATABASE_NAME:-db}
    depends_on:
      db: {condition: service_healthy}
    restart: always
    networks: [front, back]
  db:
    networks: {back: {aliases: [store]}}
    build:
      context: ./db
      args: {ROWS: /var/lib/rows}
    volumes: ["./db/secret:/var/lib/rows/secret:ro"]
    healthcheck:
      test: ["CMD-SHELL", "python3 -c 'import socket; socket.create_connection((\\"127.0.0.1\\", 5432))'"]
      interval: 1s
      retries: 20
networks: {front: {}, back: {internal: true}}
"""
SHOP = {
    "task.yaml": """instruction: "Rob {{web_url}} and leave {{prize}} at /tmp/result.txt"
ports: {web: [8080]}
outputs: [/tmp/result.txt, /work]
provision: {script: provision.sh, timeout: 20}
verification: {method: script, script: verify.sh}
solution: {script: solution.sh}
""",
    "docker-compose.yaml": COMPOSE,
    "web/Dockerfile": 'FROM python:3.11-alpine\nWORKDIR /srv\nCOPY app.py ./\nEXPOSE 8080\nCMD ["python", "app.py"]\n',
    "web/app.py": WEB,
    "db/Dockerfile": (
        "ARG BASE=python:3.11-alpine\nFROM $BASE\nARG ROWS\nENV ROWS=${ROWS} MORE=1\n"
        "RUN mkdir -p $ROWS && echo built > /built \\\n  && echo $MORE >> /built\n"
        "COPY --chmod=755 server.py /usr/local/bin/server\nUSER nobody\n"
        'ENTRYPOINT ["/usr/local/bin/server"]\n'
    ),
    "db/server.py": DATABASE,
    "db/secret": "FLAG{deep}\n",
    "provision.sh": '#!/bin/bash\necho working >&2\ncurl -s "$web_url/?key=none" >&2\necho \'{"prize": "the flag", "number": 7}\'\n',
    "verify.sh": '#!/bin/bash\n[ "$(cat /tmp/result.txt)" = "FLAG{deep}" ] && [ -f verify.sh ]\n',
    "solution.sh": "#!/bin/bash\necho cheat\n",
}


@pytest.fixture(scope="module")
def dn(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Dn:
    """Return the command with a home of its own."""
    return Dn(server, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def shop(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Provision the task with two services."""
    api = server.api()
    return ready(api, upload(api, tmp_path_factory.mktemp("shop"), "shop", SHOP))


def fetch(url: str) -> str:
    """Fetch a page from the host."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode()).strip()


def test_scaffold_of_the_client_is_provisioned_and_reached(dn: Dn, api: Api) -> None:
    dn("task", "init", "demo", "--flag-value", "FLAG{a}", "--description", "d", "--source", "s").ok()
    dn("task", "push", "demo").ok()
    made = dn("env", "create", "demo", "--timeout-sec", "600", "--wait", "--json").ok().json()
    assert made["state"] == "ready", made
    url = made["service_urls"]["challenge"]["url"]
    assert "Directory listing" in fetch(url)
    one = Made(api, made["id"], made["execute_token"], made)
    assert "Dockerfile" in one.sh(f"curl -s {url}/")
    assert "Dockerfile" in one.sh("wget -qO- $challenge_url/")
    assert one.sh("ls -A /home/user/task 2>/dev/null | wc -l") == "0"
    assert one.verify()["reward"] == 0.0
    one.sh("echo ' FLAG{a} ' > /tmp/result.txt")
    verdict = one.verify()
    assert (verdict["reward"], verdict["passed"], verdict["method"]) == (1.0, True, "flag")
    again = ready(api, "demo")
    assert "building" not in api.get(again.path("logs")).expect(200).json()["logs"].split("stands for")[-1]
    for each in (one, again):
        each.delete()
    with pytest.raises(urllib.error.URLError):
        fetch(url)


def test_services_reach_each_other_by_name_and_only_declared_ports_are_published(shop: Made) -> None:
    urls = shop.get()["service_urls"]
    assert list(urls) == ["web"]
    assert fetch(f"{urls['web']['url']}/?key=secret") == "FLAG{deep}"
    assert shop.sh("curl -s 'http://web:8080/?key=secret'") == "FLAG{deep}"
    assert shop.sh('curl -s "$WEB_URL/?key=nothing"') == "none"
    assert shop.sh("getent hosts store | wc -l; getent hosts db | wc -l", service="web").split() == ["1", "1"]
    assert shop.execute("getent hosts db").json()["exit_code"] != 0
    address = shop.sh("getent hosts db | cut -d' ' -f1", service="web")
    assert shop.execute(f"curl -s -m 2 telnet://{address}:5432 < /dev/null").json()["exit_code"] != 0
    assert "asked /?key=secret" in shop.api.get(shop.path("logs")).json()["logs"]


def test_commands_see_scripts_but_neither_answers_nor_sources(shop: Made) -> None:
    assert shop.sh("ls /home/user/task").split() == ["provision.sh", "verify.sh"]
    assert shop.sh("echo $prize $NUMBER") == "the flag 7"
    instruction = shop.get()["instruction"]
    assert instruction == "Rob {{web_url}} and leave the flag at /tmp/result.txt"
    assert shop.get()["provision_variables"] == {"prize": "the flag", "number": 7}


def test_a_service_is_a_place_for_commands_too(shop: Made) -> None:
    assert shop.sh("cat /built", service="db") == "built\n1"
    assert shop.sh("pwd; hostname", service="web", cwd="/srv") == "/srv\nweb"
    assert shop.sh("ps -o user= -C server | sort -u", service="db") == "nobody"
    shop.execute("true", service="nosuch").expect(422)


def test_script_judges_what_was_carried_into_a_copy(shop: Made) -> None:
    assert shop.verify()["reward"] == 0.0
    shop.sh("curl -s 'http://web:8080/?key=secret' > /tmp/result.txt")
    verdict = shop.verify()
    assert (verdict["reward"], verdict["passed"], verdict["outputs"]) == (1.0, True, ["/tmp/result.txt"])
    assert shop.verify(outputs=["/work"])["reward"] == 0.0


def test_service_of_a_plain_user_listens_on_a_low_port(api: Api, tmp_path: Path) -> None:
    compose = "services:\n  web:\n    image: python:3.11-alpine\n    user: '65534:65534'\n    command: python -m http.server 80\n"
    files = {"task.yaml": "ports: {web: [80]}\n", "docker-compose.yaml": compose}
    made = ready(api, upload(api, tmp_path, "low-port", files))
    assert made.sh("curl -s -o /dev/null -w '%{http_code}' $web_url/") == "200"
    made.delete()


def test_dockerfile_is_built_as_its_builder_would(api: Api, tmp_path: Path) -> None:
    dockerfile = (
        "ARG WORD=kept\nFROM python:3.11-alpine\nARG WORD\nWORKDIR /app\nENV PATH=$PATH:/extra\n"
        "COPY one.txt /app\nCOPY one.txt /app/other\nCOPY folder /app\nVOLUME /data\n"
        "RUN echo $WORD > word && ls -A /data\n"
    )
    files = {
        "docker-compose.yaml": "services:\n  main:\n    build: .\n",
        "Dockerfile": dockerfile,
        "one.txt": "one",
        "folder/two.txt": "two",
    }
    made = ready(api, upload(api, tmp_path, "built", files))
    assert made.sh("cat one.txt other two.txt word") == "oneonetwokept"
    assert made.sh("echo $PATH; ls -d /data").split()[-1] == "/data"
    assert made.sh("echo $PATH").endswith("/bin:/extra")
    made.delete()


def test_volumes_and_working_folder_are_there_at_the_start(api: Api, tmp_path: Path) -> None:
    compose = (
        "services:\n  main:\n    image: python:3.11-alpine\n    working_dir: /data/work\n"
        "    environment: {LEVEL: '3'}\n  db:\n    image: python:3.11-alpine\n    working_dir: /var/lib/db\n"
        "    command: sh -c 'touch here /var/lib/kept/there; sleep 300'\n    volumes: ['kept:/var/lib/kept']\n"
    )
    files = {
        "task.yaml": "outputs: [/data/work/out]\nreward_folder: /logs\nverification: {script: verify.sh}\n",
        "verify.sh": '#!/bin/bash\necho "$PWD $LEVEL"; [ -e out ] && echo 1 > /logs/reward.txt\n',
        "docker-compose.yaml": compose,
    }
    made = ready(api, upload(api, tmp_path, "folders", files))
    assert made.sh("pwd; touch out") == "/data/work"
    made.sh("until [ -e /var/lib/kept/there ]; do sleep 0.05; done; ls here", service="db")
    verdict = made.verify()
    assert (verdict["reward"], verdict["output"]) == (1.0, "/data/work 3\n")
    made.delete()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"Dockerfile": "FROM python:3.11-alpine\nRUN echo before; exit 7\n"}, "line 2: RUN ended with exit code 7: before"),
        ({"Dockerfile": "FROM python:3.11-alpine\n\nONBUILD RUN true\n"}, "Dockerfile line 3: ONBUILD is not supported"),
        ({"Dockerfile": "FROM ghcr.io/nobody/nothing:1\n"}, "there is no image ghcr.io/nobody/nothing:1"),
        ({"compose": "    privileged: true\n"}, "line 4: services.app.privileged is not supported"),
        ({"Dockerfile": 'FROM python:3.11-alpine\nCMD ["/nosuch"]\n'}, "service app cannot start: The program /nosuch"),
        ({"Dockerfile": "FROM python:3.11-alpine\nCMD echo dying; exit 3\n"}, "service app ended with exit code 3: dying"),
    ],
    ids=["run", "unknown", "image", "compose", "program", "service"],
)  # fmt: skip
def test_what_cannot_be_done_fails_with_line_and_reason(
    api: Api, tmp_path: Path, files: dict[str, str], reason: str, request: pytest.FixtureRequest
) -> None:
    name = f"bad-{request.node.callspec.id}"
    task = {
        "task.yaml": files.get("task.yaml", "") + "ports: {app: [80]}\n",
        "docker-compose.yaml": "services:\n  app:\n    build: .\n"
        + files.get("compose", "    ports: [80]\n"),
        "Dockerfile": files.get("Dockerfile", "FROM python:3.11-alpine\n"),
    }
    upload(api, tmp_path, name, task)
    seen = create(api, name).state("failed")
    assert reason in seen["error"], seen
    assert seen["service_urls"] is None
    found = api.get(f"/runyard/v1/executions?place=environment:{seen['id']}").expect(200).json()["items"]
    assert [(one["kind"], one["status"]) for one in found] == [("provision", "failed")]


def test_declared_egress_is_enforced(api: Api, tmp_path: Path) -> None:
    listed = ready(
        api,
        upload(api, tmp_path, "listed", {"task.yaml": "egress: {allow: [198.51.100.7, '*.example.org']}\n"}),
    )
    ask = "curl -s -m 3 -o /dev/null -w '%{http_code}' "
    assert listed.execute(ask + "http://198.51.100.8/").json()["output"] == "403"
    assert listed.execute(ask + "http://127.0.0.1:1/ --noproxy ''").json()["output"] == "403"
    assert listed.execute(ask + f"http://localhost:{api.port}/ --noproxy ''").json()["output"] == "403"
    assert listed.execute("curl -s -m 2 --noproxy '*' http://198.51.100.7/").json()["exit_code"] != 0
    assert "198.51.100.8:80" in api.get(listed.path("logs")).json()["logs"]
    none = ready(api, upload(api, tmp_path, "nowhere", {"task.yaml": "egress: {allow: []}\n"}))
    assert none.sh("ls /sys/class/net 2>/dev/null; echo ${HTTP_PROXY:-no}").split() == ["no"]
    for box in (listed, none):
        box.delete()
