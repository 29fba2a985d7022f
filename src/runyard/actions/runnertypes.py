"""The runner types. Owns the fourteen kinds of action with their parameters, as data; runs nothing.

Names, types, defaults and flags are published: the `st2` command builds its arguments from them.
"""

from collections.abc import Mapping
from typing import Final

from runyard.actions.model import RunnerType
from runyard.actions.values import Json, JsonObject


def _text(description: str, **more: Json) -> JsonObject:
    return {"description": description, "type": "string", **more}


def _flag(description: str, default: bool, **more: Json) -> JsonObject:
    return {"description": description, "type": "boolean", "default": default, **more}


def _number(description: str, **more: Json) -> JsonObject:
    return {"description": description, "type": "integer", **more}


def _secret(description: str, **more: Json) -> JsonObject:
    return {"description": description, "type": "string", "secret": True, **more}


def _pick(source: JsonObject, *names: str) -> dict[str, Json]:
    return {name: source[name] for name in names}


_REMOTE_FOLDER: Final = "/tmp"  # noqa: S108 - the published default, on another host
_TIMEOUT: Final = "Seconds after which the action is ended."
_SHELL: Final[JsonObject] = {
    "cmd": _text("The command line, run by a shell."),
    "cwd": _text("The folder to run in."),
    "env": {"description": "Environment variables for the action (key1=val1,key2=val2).", "type": "object"},
    "kwarg_op": _text("What stands before the names of named arguments, -- or -.", default="--"),
    "sudo": _flag("Run it as root through sudo.", False),
    "sudo_password": _secret("The password that sudo asks for, where it asks.", default=None, required=False),
    "timeout": _number(_TIMEOUT, default=60),
}
_CONTENT: Final[JsonObject] = {
    "debug": _flag("Let the runner tell more about what it does.", False, required=False),
    "content_version": _text(
        "The commit, tag or branch of the pack's files to run; for packs that are Git repositories.",
        required=False,
    ),
}
_SSH: Final[JsonObject] = {
    "bastion_host": _text("A host to connect through, with the same credentials.", required=False),
    "cwd": _text("The folder on the remote host to run in.", default=_REMOTE_FOLDER),
    "dir": _text("The folder on the remote host to copy files to.", default=_REMOTE_FOLDER),
    "hosts": _text("The hosts, separated by commas, each with a port if needed (a,b:2222).", required=True),
    "parallel": _flag("Run on all hosts at once.", False, immutable=True),
    "passphrase": _secret("The passphrase of the private key, if it has one.", required=False),
    "password": _secret("The password to log in with, instead of a key.", required=False),
    "port": _number("The SSH port of hosts that name none; 22 by default.", required=False),
    "private_key": _secret("The text of the private key to log in with.", required=False),
    "username": _text("The user to log in as, instead of the configured one.", required=False),
}
_WINRM: Final[JsonObject] = {
    **_pick(_SHELL, "env"),
    "cwd": _text("The folder to run in."),
    "host": _text("The host to run on.", required=True),
    "username": _text("The user to log in as.", required=True),
    "password": _secret("The password to log in with.", required=True),
    "port": _number("The port of WinRM; 5985 goes with the scheme http.", default=5986, required=False),
    "scheme": _text("The scheme of the address, http or https.", default="https", required=False),
    "transport": _text(
        "How to authenticate.",
        default="ntlm",
        required=False,
        enum=["basic", "certificate", "credssp", "kerberos", "ntlm", "plaintext", "ssl"],
    ),
    "verify_ssl_cert": _flag("Check the certificate of the host.", True),
    "timeout": _number(_TIMEOUT, default=60),
}
_WINRM_OPERATOR: Final[JsonObject] = {
    "kwarg_op": _text("What stands before the names of named arguments.", default="-")
}
_ANYTHING: Final = {
    "anyOf": [
        {"type": name} for name in ("object", "string", "integer", "number", "boolean", "array", "null")
    ]
}
_REMOTE_DIRECTORY: Final[JsonObject] = {"dir": {**_SSH["dir"], "immutable": True}}

_ALL: Final = (
    RunnerType(
        name="local-shell-cmd",
        description="Runs a command line on this server's workers.",
        runner_package="local_runner",
        runner_module="local_shell_command_runner",
        runner_parameters=_SHELL,
    ),
    RunnerType(
        name="local-shell-script",
        description="Runs a script of the pack on this server's workers.",
        runner_package="local_runner",
        runner_module="local_shell_script_runner",
        runner_parameters={
            **_CONTENT,
            **_pick(_SHELL, "cwd", "env", "kwarg_op", "sudo", "sudo_password", "timeout"),
        },
    ),
    RunnerType(
        name="remote-shell-cmd",
        description="Runs a command line on other hosts over SSH.",
        runner_package="remote_runner",
        runner_module="remote_command_runner",
        runner_parameters={**_SHELL, **_SSH, **_REMOTE_DIRECTORY},
    ),
    RunnerType(
        name="remote-shell-script",
        description="Copies a script of the pack to other hosts and runs it there over SSH.",
        runner_package="remote_runner",
        runner_module="remote_script_runner",
        runner_parameters={**_pick(_SHELL, "env", "kwarg_op", "sudo", "sudo_password", "timeout"), **_SSH},
    ),
    RunnerType(
        name="python-script",
        description="Runs a Python class of the pack in a process of its own.",
        runner_package="python_runner",
        runner_module="python_runner",
        output_key="result",
        output_schema={
            "type": "object",
            "properties": {
                "result": _ANYTHING,
                "stderr": {"type": "string", "required": True},
                "stdout": {"type": "string", "required": True},
                "exit_code": {"type": "integer", "required": True},
            },
            "additionalProperties": False,
        },
        runner_parameters={
            **_CONTENT,
            **_pick(_SHELL, "env"),
            "timeout": _number(_TIMEOUT, default=600),
            "log_level": _text(
                "The lowest level of log lines that are printed.",
                default="DEBUG",
                enum=["AUDIT", "CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"],
            ),
        },
    ),
    RunnerType(
        name="http-request",
        description="Sends an HTTP request.",
        runner_package="http_runner",
        runner_module="http_runner",
        output_key="body",
        output_schema={
            "status_code": {"type": "integer"},
            "body": _ANYTHING,
            "parsed": {"type": "boolean"},
            "headers": {"type": "object"},
        },
        runner_parameters={
            "url": _text("The address to send the request to.", required=True),
            "headers": {"description": "Headers of the request.", "type": "object"},
            "cookies": {"description": "Cookies of the request.", "type": "object"},
            "username": _text("The user for basic authentication."),
            "password": _secret("The password for basic authentication."),
            "allow_redirects": _flag("Follow redirections.", False),
            "verify_ssl_cert": _flag("Check the certificate of the server.", True),
            "http_proxy": _text("The address of a proxy for http."),
            "https_proxy": _text("The address of a proxy for https."),
            "url_hosts_blacklist": {
                "description": "Hosts that the address may not have; not together with a list of allowed ones.",
                "type": "array",
                "items": {"type": "string"},
                "required": False,
            },
            "url_hosts_whitelist": {
                "description": "The only hosts that the address may have.",
                "type": "array",
                "items": {"type": "string"},
                "required": False,
            },
        },
    ),
    RunnerType(
        name="noop",
        description="Does nothing and succeeds.",
        runner_package="noop_runner",
        runner_module="noop_runner",
        runner_parameters={},
    ),
    RunnerType(
        name="announcement",
        description="Sends an event to everybody who listens to the stream.",
        runner_package="announcement_runner",
        runner_module="announcement_runner",
        output_schema={"output": {"type": "object"}},
        runner_parameters={
            "experimental": _flag("Accept that this runner may change.", False, required=True),
            "route": _text(
                "Words joined by dots that listeners choose by.",
                default="general",
                minLength=1,
                maxLength=255,
            ),
        },
    ),
    RunnerType(
        name="inquirer",
        description="Waits for the answer of a person.",
        runner_package="inquirer_runner",
        runner_module="inquirer_runner",
        runner_parameters={
            "schema": {
                "description": "The schema that the answer must fit.",
                "type": "object",
                "required": True,
                "default": {
                    "title": "response_data",
                    "type": "object",
                    "properties": {
                        "continue": {
                            "type": "boolean",
                            "description": "Go on with the workflow?",
                            "required": True,
                        }
                    },
                },
            },
            "roles": {
                "description": "The roles that may answer; empty for all.",
                "type": "array",
                "default": [],
                "required": False,
            },
            "users": {
                "description": "The users who may answer; empty for all.",
                "type": "array",
                "default": [],
                "required": False,
            },
            "route": _text("A word by which rules choose whom to tell.", default="", required=False),
            "ttl": _number("Minutes after which nobody may answer any more.", default=1440, required=True),
        },
    ),
    RunnerType(
        name="orquesta",
        description="Runs a workflow of tasks.",
        runner_package="orquesta_runner",
        runner_module="orquesta_runner",
        output_key="output",
        output_schema={
            "type": "object",
            "properties": {"errors": _ANYTHING, "output": _ANYTHING},
            "additionalProperties": False,
        },
        runner_parameters={
            "notify": {"description": "The tasks to notify about.", "type": "array", "default": []}
        },
    ),
    RunnerType(
        name="action-chain",
        description="Runs actions one after another.",
        runner_package="action_chain_runner",
        runner_module="action_chain_runner",
        output_key="published",
        runner_parameters={
            "display_published": _flag("Show what was published in the result.", True),
            "skip_notify": {
                "description": "The tasks not to notify about.",
                "type": "array",
                "default": [],
            },
        },
    ),
    RunnerType(
        name="winrm-cmd",
        description="Runs a command line on a Windows host.",
        runner_package="winrm_runner",
        runner_module="winrm_command_runner",
        runner_parameters={**_WINRM, **_WINRM_OPERATOR, "cmd": _text("The command line.")},
    ),
    RunnerType(
        name="winrm-ps-cmd",
        description="Runs a PowerShell command on a Windows host.",
        runner_package="winrm_runner",
        runner_module="winrm_ps_command_runner",
        runner_parameters={**_WINRM, **_WINRM_OPERATOR, "cmd": _text("The PowerShell command.")},
    ),
    RunnerType(
        name="winrm-ps-script",
        description="Runs a PowerShell script of the pack on a Windows host.",
        runner_package="winrm_runner",
        runner_module="winrm_ps_script_runner",
        runner_parameters={**_WINRM, **_WINRM_OPERATOR},
    ),
)

RUNNER_TYPES: Final[Mapping[str, RunnerType]] = {runner.name: runner for runner in _ALL}
"""All runner types by name."""

_OLD_NAMES: Final = {
    "run-local": "local-shell-cmd",
    "run-local-script": "local-shell-script",
    "run-remote": "remote-shell-cmd",
    "run-remote-script": "remote-shell-script",
    "run-python": "python-script",
    "http-runner": "http-request",
}
"""Names of old packs."""

RUNS_NOT_YET: Final[Mapping[str, str]] = {
    "orquesta": "Workflows of the orquesta runner are not available in this version of Runyard.",
    "action-chain": "Workflows of the action-chain runner are not available in this version of Runyard.",
    "winrm-cmd": "The winrm-cmd runner is not available in Runyard.",
    "winrm-ps-cmd": "The winrm-ps-cmd runner is not available in Runyard.",
    "winrm-ps-script": "The winrm-ps-script runner is not available in Runyard.",
}
"""Runners whose actions can be registered but not run, with the sentence that says so."""


def runner_named(name: str) -> RunnerType | None:
    """Return the runner type of a name, old names included; None when there is none."""
    return RUNNER_TYPES.get(_OLD_NAMES.get(name, name))
