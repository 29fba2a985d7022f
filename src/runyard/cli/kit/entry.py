"""Running a command line. Owns how every ending becomes an exit status and a sentence; the only place that reports errors."""

import os
import signal
import sys
from collections.abc import Sequence

import click

from runyard.cli.kit.commands import ReaderGone
from runyard.cli.kit.exits import CONTROL_PLANE, INTERRUPTED, OK, USAGE, status_of
from runyard.cli.kit.state import State
from runyard.client.errors import ApiError, ClientError

PROGRAM = "runyard"


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    from runyard.cli.root import root

    state = State(json=_asks_for_json(arguments))
    try:
        outcome = root.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=state)
    except click.ClickException as error:
        return _report_usage(state, error)
    except ClientError as error:
        return _report(state, error)
    except (click.Abort, KeyboardInterrupt):
        state.say("interrupted")
        return INTERRUPTED
    except ReaderGone:
        return _reader_gone()
    except Exception:
        if not state.remote:
            raise
        # A bug of ours must not look like the status of the remote command.
        import traceback

        traceback.print_exc()
        return CONTROL_PLANE
    return outcome if isinstance(outcome, int) else OK


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Look for `--json` before parsing, so that a usage error is JSON too; nothing behind `--` is ours."""
    ours = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if "--json" in ours or "--output=json" in ours:
        return True
    return "--output" in ours and ours[ours.index("--output") + 1 :][:1] == ["json"]


def _report_usage(state: State, error: click.ClickException) -> int:
    """Report wrong usage with the command's usage line."""
    context = getattr(error, "ctx", None)
    remote = bool(getattr(getattr(context, "command", None), "remote", False))
    status = CONTROL_PLANE if remote else USAGE
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return status
    if state.as_json:
        _print_json(code="usage", message=error.format_message(), exit_status=status)
        return status
    print(f"{PROGRAM}: {error.format_message()}", file=sys.stderr)
    if context is not None:
        print(f"Try `{context.command_path} --help`.", file=sys.stderr)
    return status


def _report(state: State, error: ClientError) -> int:
    """Report a failure of the client or the server: what, what to do, and the request id to quote."""
    http_status = error.status if isinstance(error, ApiError) else None
    request_id = error.request_id if isinstance(error, ApiError) else None
    status = status_of(error.code, http_status, remote=state.remote)
    if state.as_json:
        _print_json(
            code=error.code,
            message=error.message,
            exit_status=status,
            http_status=http_status,
            request_id=request_id,
        )
        return status
    print(f"{PROGRAM}: {error.message}", file=sys.stderr)
    hint = _hint(state, error)
    if hint:
        print(hint, file=sys.stderr)
    if request_id:
        print(f"request id: {request_id}", file=sys.stderr)
    return status


def _hint(state: State, error: ClientError) -> str:
    """Say what to do next, with the server and profile that were used."""
    refused = isinstance(error, ApiError) and error.status in (401, 403, 404)
    if not refused and error.code != "unreachable":
        return ""
    try:
        chosen = state.connection()
    except ClientError:
        return ""
    where = f"server: {chosen.url} ({chosen.source})"
    if error.code == "unauthenticated":
        return f"{where}; set RUNYARD_TOKEN or store a token with `runyard profile set NAME --token-stdin`"
    if error.code == "unreachable":
        return f"{where}; is it running? start one with `runyard serve`"
    return where


def _print_json(
    *,
    code: str,
    message: str,
    exit_status: int,
    http_status: int | None = None,
    request_id: str | None = None,
) -> None:
    """Print the error document on stderr, always with all keys."""
    from runyard.cli.kit.output import print_error_json

    fields = {"code": code, "message": message, "exit_status": exit_status}
    print_error_json(fields | {"http_status": http_status, "request_id": request_id})


def _reader_gone() -> int:
    """End quietly, as by SIGPIPE, when the reader of our stdout left; the interpreter must not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 128 + signal.SIGPIPE
