"""Roles and isolation, as users who are no administrators meet them through the vendor's `st2` and on the wire."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.test_st2_stream import Listener
from tests.acceptance.test_st2_wire import Door
from tests.conftest import ServerFactory
from tests.support.cli import environment_for, run_process
from tests.support.server import Server
from tests.support.st2 import St2

ROLES = {
    "roles/runners.yaml": """
name: runners
description: Runs core.local and looks at what it ran.
permission_grants:
  - resource_uid: "action:core:local"
    permission_types: [action_execute]
  - resource_uid: "pack:core"
    permission_types: [pack_view]
  - permission_types: [action_list, runner_type_list, runner_type_view, execution_list, stream_view, api_key_all,
      inquiry_view, inquiry_respond]
  - resource_uid: "key_value_pair:st2kv.system:shared"
    permission_types: [key_value_pair_view]
""",
    "roles/keeping.yaml": """
name: keeping
permission_grants:
  - resource_uid: "key_value_pair:st2kv.system:shared"
    permission_types: [key_value_pair_all]
  - resource_uid: "action:core:local"
    permission_types: [action_all]
""",
    "roles/sleeping.yaml": "name: sleeping\nenabled: false\npermission_grants: [{permission_types: [pack_all]}]\n",
    "assignments/bob.yaml": "username: bob\nroles: [runners, sleeping]\n",
    "assignments/eve.yaml": "username: eve\nroles: [runners]\n",
    "assignments/kim.yaml": "username: kim\nroles: [keeping]\n",
    "assignments/olga.yaml": "username: olga\nroles: [observer]\n",
    "assignments/rita.yaml": "username: rita\nroles: [admin]\n",
}
USERS = ("bob", "eve", "kim", "olga", "rita", "nobody")


@dataclass
class House:
    """A server that asks roles, and a token for each user."""

    server: Server
    folder: Path
    tokens: dict[str, str]

    def door(self, user: str) -> Door:
        """Return the door as a user speaks to it."""
        return Door(self.server.api().clone(self.tokens[user]))

    def st2(self, user: str) -> St2:
        """Return the command as a user has it."""
        return St2(self.server, self.folder, {"ST2_AUTH_TOKEN": self.tokens[user]})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Serve with roles and isolation; make users, roles and tokens with Runyard's own command."""
    folder = tmp_path_factory.mktemp("roles")
    one = ServerFactory(folder)(actions__rbac=True, actions__permission_isolation=True)
    environment = environment_for(folder, one.url, one.token)
    for name, text in ROLES.items():
        (folder / "rbac" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "rbac" / name).write_text(text)
    assert (
        "3 roles and 5 users" in run_process(environment, "role", "apply", str(folder / "rbac")).expect(0).err
    )
    tokens = {"admin": one.token}
    for user in USERS:
        run_process(environment, "user", "create", user).expect(0)
        tokens[user] = run_process(environment, "token", "create", user, "--user", user).expect(0).out.strip()
    yield House(one, folder, tokens)
    one.close()


def test_granted_user_runs_and_sees_only_its_own_with_the_real_command(house: House) -> None:
    bob, eve = house.st2("bob"), house.st2("eve")
    mine = bob.run("core.local", "cmd=echo from bob")
    assert mine["result"]["stdout"] == "from bob"
    theirs = eve.run("core.local", "cmd=echo from eve")
    listed = [one["id"] for one in bob("execution", "list", "-j").ok().json()]
    assert mine["id"] in listed
    assert theirs["id"] not in listed
    refused = bob("execution", "get", theirs["id"])
    assert refused.code != 0
    assert "due to resource permission isolation" in refused.out
    refused = bob("run", "core.echo", "message=x")
    assert refused.code != 0
    assert 'doesn\'t have required permission "action_view" on resource "action:core:echo"' in refused.out
    assert "line 1" in bob("run", "core.local", "cmd=echo line 1", "--tail").ok().out
    who = bob("whoami").ok().out
    assert 'logged in as "bob"' in who
    assert "- Enabled: True\n - Roles: runners, sleeping" in who
    shown = bob("execution", "get", mine["id"], "-j", "--attr", "all").ok().json()
    assert shown["context"]["rbac"] == {"user": "bob", "roles": ["runners", "sleeping"]}


def test_logged_in_user_keeps_its_rights(house: House) -> None:
    token = house.st2("bob")("auth", "bob", "-p", house.tokens["bob"], "-t").ok().out.strip()
    again = St2(house.server, house.folder, {"ST2_AUTH_TOKEN": token})
    assert again.run("core.local", "cmd=echo again")["status"] == "succeeded"
    key = again("apikey", "create", "-k").ok().out.strip()
    with_key = St2(house.server, house.folder, {"ST2_API_KEY": key})
    assert with_key.run("core.local", "cmd=echo key")["status"] == "succeeded"
    assert with_key("pack", "list").code != 0


def test_roles_are_shown_to_administrators(house: House) -> None:
    rita, bob = house.st2("rita"), house.st2("bob")
    names = {one["name"] for one in rita("role", "list", "-j").ok().json()}
    assert names == {"admin", "keeping", "observer", "system_admin", "runners", "sleeping"}
    assert rita("role", "get", "runners", "-j").ok().json()["description"].startswith("Runs core.local")
    held = rita("role-assignment", "list", "-j").ok().json()
    assert {(one["user"], one["role"]) for one in held} >= {("bob", "runners"), ("olga", "observer")}
    assert "Administrator access required" in bob("role", "list").out


FORBIDDEN = [
    ("POST", "/v1/executions", {"action": "core.noop"}, 'permission "action_execute" on resource "action:core:noop"'),
    ("POST", "/v1/executions", {"action": "core.local", "parameters": {"cmd": "id"}, "user": "eve"}, "only be provided by admins"),
    ("POST", "/v1/executions", {"action": "core.local", "parameters": {"cmd": "id"}, "context": {"parent": {"user": "eve"}}}, "only be provided by admins"),
    ("GET", "/v1/actions/core.noop", None, 'permission "action_view" on resource "action:core:noop"'),
    ("GET", "/v1/actions/views/parameters/core.noop", None, "action_view"),
    ("GET", "/v1/actions/views/entry_point/core.noop", None, "action_view"),
    ("POST", "/v1/actions", {"name": "mine", "runner_type": "noop"}, '"action_create"'),
    ("PUT", "/v1/actions/core.local", {"name": "local", "pack": "core", "runner_type": "noop"}, '"action_modify"'),
    ("DELETE", "/v1/actions/core.local", None, '"action_delete"'),
    ("POST", "/v1/actions/core.local/clone", {"dest_pack": "default", "dest_action": "x"}, '"action_create"'),
    ("GET", "/v1/packs", None, '"pack_list"'),
    ("GET", "/v1/packs/linux", None, 'permission "pack_view" on resource "pack:linux"'),
    ("POST", "/v1/packs/register", {}, '"pack_register"'),
    ("GET", "/v1/configs/linux", None, '"pack_view" on resource "pack:linux"'),
    ("PUT", "/v1/configs/core", {}, '"pack_config"'),
    ("GET", "/v1/config_schemas/linux", None, '"pack_view"'),
    ("GET", "/v1/keys?scope=system", None, '"key_value_pair_list"'),
    ("GET", "/v1/keys/other", None, '"key_value_pair_view"'),
    ("PUT", "/v1/keys/shared", {"value": "x"}, '"key_value_pair_set"'),
    ("DELETE", "/v1/keys/shared", None, '"key_value_pair_delete"'),
    ("GET", "/v1/keys/mine?scope=user&user=eve", None, "only be provided by admins"),
    ("GET", "/v1/traces", None, '"trace_list"'),
    ("GET", "/v1/inquiries", None, '"inquiry_list"'),
    ("GET", "/v1/executions/views/filters", None, '"execution_views_filters_list"'),
    ("GET", "/v1/executions?limit=101", None, 'Limit "101" specified, maximum value is "100"'),
    ("GET", "/v1/executions?limit=-1", None, "Administrator access required"),
    ("GET", "/v1/rbac/permission_types", None, "required"),
    ("POST", "/v1/apikeys", {"user": "eve"}, "only be provided by admins"),
]  # fmt: skip


def test_everything_that_was_not_granted_is_refused_by_name(house: House) -> None:
    house.door("admin")("PUT", "/v1/keys/shared", {"value": "for all"}).expect(200)
    bob, nobody = house.door("bob"), house.door("nobody")
    for method, path, body, text in FORBIDDEN:
        answer = bob(method, path, body)
        assert answer.status == 403, (method, path, answer.status, answer.body)
        assert text in answer.json()["faultstring"], (method, path, answer.body)
        assert nobody(method, path, body).status == 403, (method, path)
    assert bob("GET", "/v1/keys/shared").expect(200).json()["value"] == "for all"
    assert [one["ref"] for one in bob("GET", "/v1/actions?pack=core&name=local").expect(200).json()] == [
        "core.local"
    ]


def test_refusals_name_the_resource_though_nothing_was_granted(house: House) -> None:
    nobody = house.door("nobody")
    mine = house.door("rita").run("true")["id"]
    for method, path, body, text in (
        ("POST", "/v1/executions", {"action": "core.local"}, '"action_execute" on resource "action:core:local"'),
        ("POST", "/v1/executions", {"action": "core.nope"}, None),
        ("GET", f"/v1/executions/{mine}", None, f'"execution_view" on resource "execution:{mine}"'),
        ("DELETE", f"/v1/executions/{mine}", None, f'"execution_stop" on resource "execution:{mine}"'),
        ("GET", "/v1/actions/core.local", None, '"action_view" on resource "action:core:local"'),
        ("GET", "/v1/packs/core", None, '"pack_view" on resource "pack:core"'),
        ("GET", "/v1/runnertypes/noop", None, '"runner_type_view" on resource "runner_type:noop"'),
        ("POST", "/v1/actions/core.local/clone", {"dest_pack": "default", "dest_action": "x"}, '"action_create"'),
        ("GET", "/v1/executions", None, '"execution_list"'),
    ):  # fmt: skip
        said = nobody(method, path, body).json()["faultstring"]
        wanted = (
            'Action "core.nope" cannot be found.'
            if text is None
            else f'User "nobody" doesn\'t have required permission {text}'
        )
        assert said == wanted, (method, path)


def test_everything_with_one_resource_lists_no_others(house: House) -> None:
    admin, kim = house.door("admin"), house.door("kim")
    admin("PUT", "/v1/keys/shared", {"value": "for all"}).expect(200)
    admin("PUT", "/v1/keys/hidden", {"value": "for few"}).expect(200)
    for scope in ("system", "all"):
        listed = kim("GET", f"/v1/keys?scope={scope}").expect(200).json()
        assert [one["name"] for one in listed] == ["shared"]
    kim("GET", "/v1/keys/hidden").expect(403)
    assert kim("GET", "/v1/actions").expect(403).json() == {
        "faultstring": 'User "kim" doesn\'t have required permission "action_list"'
    }
    kim("GET", "/v1/actions/core.local").expect(200)


def test_own_keys_need_no_grant(house: House) -> None:
    nobody = house.door("nobody")
    nobody("PUT", "/v1/keys/mine", {"value": "v", "scope": "user"}).expect(200)
    assert nobody("GET", "/v1/keys/mine?scope=user").expect(200).json()["user"] == "nobody"
    assert [one["name"] for one in nobody("GET", "/v1/keys?scope=all").expect(200).json()] == ["mine"]
    nobody("DELETE", "/v1/keys/mine?scope=user").expect(204)


def test_executions_of_others_are_out_of_reach_in_every_operation(house: House) -> None:
    bob, eve = house.door("bob"), house.door("eve")
    theirs = eve.run("echo secret business")["id"]
    for method, path, body in (
        ("GET", "", None), ("PUT", "", {"status": "failed"}), ("DELETE", "", None), ("GET", "/attribute/result", None),
        ("GET", "/children", None), ("GET", "/output", None), ("GET", "/result", None), ("POST", "/re_run", {}),
    ):  # fmt: skip
        answer = bob(method, f"/v1/executions/{theirs}{path}", body).expect(403)
        assert answer.json()["faultstring"] == (
            f'User "bob" doesn\'t have access to resource "execution:{theirs}" due to resource permission isolation.'
        )
    assert bob("GET", f"/stream/v1/executions/{theirs}/output").status == 403
    listed = bob("GET", f"/v1/executions?id={theirs}").expect(200)
    assert (listed.json(), listed.headers["x-total-count"]) == ([], "0")
    below = {
        "action": "core.local",
        "parameters": {"cmd": "id"},
        "context": {"parent": {"execution_id": theirs}},
    }
    assert bob("POST", "/v1/executions", below).status == 403
    assert bob("GET", "/v1/executions/last").expect(200).json()["context"]["user"] == "bob"
    assert (
        house.door("admin")("GET", f"/v1/executions/{theirs}").expect(200).json()["context"]["user"] == "eve"
    )


def test_stream_tells_users_of_their_own_executions_only(house: House) -> None:
    bob, eve = house.door("bob"), house.door("eve")
    listener = Listener(
        house.server, "/v1/stream?events=st2.execution__*,st2.execution.output__create", bob.token
    )
    eve.run("echo of eve")
    mine = bob.run("echo of bob")["id"]
    told = listener.until(lambda _, data: data["id"] == mine and data["status"] == "succeeded")
    listener.close()
    assert {data.get("execution_id", data["id"]) for _, data in told} == {mine}
    assert "of eve" not in str(told)
    nobody = Door(house.server.api().clone(house.tokens["nobody"]))
    assert nobody("GET", "/v1/stream").status == 403


def test_observer_sees_and_changes_nothing_and_admins_by_role_do_all(house: House) -> None:
    olga, rita = house.door("olga"), house.door("rita")
    for path in (
        "actions",
        "packs",
        "executions",
        "traces",
        "keys",
        "runnertypes",
        "inquiries",
        "apikeys",
        "actions/core.noop",
    ):
        assert olga("GET", f"/v1/{path}").status == 200, path
    assert olga("POST", "/v1/executions", {"action": "core.noop"}).status == 403
    assert olga("PUT", "/v1/keys/x", {"value": "v"}).status == 403
    made = rita("POST", "/v1/executions", {"action": "core.noop", "user": "eve"}).expect(201).json()
    assert made["context"]["user"] == "eve"
    assert rita("GET", "/v1/executions?limit=-1").status == 200
    assert rita("PUT", "/v1/keys/x", {"value": "v", "encrypted": True}).status == 400
    assert olga("GET", "/v1/packs?show_secrets=true").status == 200


def test_users_without_a_place_in_the_tree_get_nothing_elsewhere(house: House) -> None:
    api = house.server.api().clone(house.tokens["rita"])
    for path in ("/runyard/v1/executions", "/runyard/v1/users", "/runyard/v1/action-roles", "/v1/runtimes"):
        assert api.get(path).status == 403, path


def test_narrow_token_of_a_granted_user_stays_narrow(house: House) -> None:
    body = {"name": "narrow", "user": "bob", "scopes": ["actions:read"]}
    token = house.server.api().post("/runyard/v1/tokens", body).expect(201).json()["secret"]
    narrow = Door(house.server.api().clone(token))
    assert narrow("GET", "/v1/actions?pack=core").status == 200
    refused = narrow("POST", "/v1/executions", {"action": "core.local", "parameters": {"cmd": "id"}}).expect(
        403
    )
    assert '"action_execute"' in refused.json()["faultstring"]


def test_administrator_of_a_project_does_not_define_the_roles_of_the_account(house: House) -> None:
    api = house.server.api()
    body = {"name": "part", "project": "default"}
    narrow = api.clone(api.post("/runyard/v1/tokens", body).expect(201).json()["secret"])
    shown = api.get("/runyard/v1/action-roles").expect(200).json()
    assert narrow.put("/runyard/v1/action-roles", {"roles": [], "assignments": []}).status == 403
    assert api.get("/runyard/v1/action-roles").expect(200).json() == shown


@pytest.mark.parametrize(
    ("parameters", "refused"),
    [
        ({"roles": ["runners"]}, ("rita", "olga", "nobody")),
        ({"users": ["bob"]}, ("rita", "eve")),
        ({"roles": ["runners"], "users": ["bob", "rita"]}, ("rita", "eve")),
    ],
)
def test_inquiry_is_answered_by_whom_it_asks_only(
    house: House, parameters: dict[str, list[str]], refused: tuple[str, ...]
) -> None:
    asked = {"action": "core.ask", "parameters": parameters}
    made = house.door("rita")("POST", "/v1/executions", asked).expect(201).json()["id"]
    body = {"id": made, "response": {"continue": True}}
    for user in refused:
        said = house.door(user)("PUT", f"/v1/inquiries/{made}", body).expect(403).json()["faultstring"]
        assert said.startswith(("Requesting user", "User")), said
    house.door("bob")("PUT", f"/v1/inquiries/{made}", body).expect(200)
    assert house.door("rita").ended(made)["result"]["response"] == {"continue": True}


def test_roles_are_replaced_at_once(house: House) -> None:
    api = house.server.api()
    shown = api.get("/runyard/v1/action-roles").expect(200).json()
    assert house.door("eve")("GET", "/v1/executions").status == 200
    without = {**shown, "assignments": [one for one in shown["assignments"] if one["username"] != "eve"]}
    api.put("/runyard/v1/action-roles", without).expect(200)
    assert house.door("eve")("GET", "/v1/executions").status == 403
    wrong = {**shown, "roles": [{"name": "x", "permission_grants": [{"permission_types": ["fly"]}]}]}
    assert api.put("/runyard/v1/action-roles", wrong).status == 422
    api.put("/runyard/v1/action-roles", shown).expect(200)
    assert house.door("eve")("GET", "/v1/executions").status == 200
