"""local-shell-cmd and local-shell-script: a command line, or a script of the pack, in a box of its own."""

import shlex

from runyard.actions.packs.folder import entry_point_path
from runyard.actions.parameters.split import script_arguments
from runyard.actions.runners.boxes import Places, Program, put_folders, unpack_and
from runyard.actions.runners.job import Job, ProcessEnd, canceled, decoded, failed, outcome, without_newline
from runyard.actions.values import Json
from runyard.executions.model import Outcome, Status
from runyard.executions.worker import RunContext

DEFAULT_TIMEOUT = 60.0


class ShellRunner:
    """Runs command lines."""

    def __init__(self, places: Places) -> None:
        """Use places to run in."""
        self._places = places

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Run the command of the job."""
        boxes = self._places.of(job.action)
        async with boxes.box() as box:
            program = Program(
                argv=("/bin/bash", "-c", job.text("cmd")),
                env=job.environment(box.api_url),
                cwd=job.text("cwd") or None,
                timeout_secs=job.number("timeout", DEFAULT_TIMEOUT),
            )
            ended = await boxes.run(box, program, context)
        return shell_outcome(ended, program.timeout_secs, context)


class ScriptRunner:
    """Runs scripts of packs."""

    def __init__(self, places: Places) -> None:
        """Use places to run in."""
        self._places = places

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Run the script of the job with its parameters as arguments. Raises InvalidMetadata without a script."""
        if job.pack_folder is None:
            return failed(f'the pack "{job.action.pack}" has no folder on this server')
        script = entry_point_path(job.pack_folder, job.action.entry_point)
        arguments = script_arguments(job.parameters, job.given.action, job.text("kwarg_op", "--"))
        boxes = self._places.of(job.action)
        async with boxes.box() as box:
            await put_folders(box, {"pack": job.pack_folder})
            inside = f"{box.files}/pack/{script.relative_to(job.pack_folder.resolve())}"
            argv = (
                (inside, *arguments)
                if script.read_bytes()[:2] == b"#!"
                else ("/bin/bash", inside, *arguments)
            )
            # It becomes the script, so that status and signals are the script's own.
            unpack = unpack_and(box.files, f'chmod +x {shlex.quote(inside)} && exec "$@"')
            program = Program(
                argv=("/bin/sh", "-c", unpack, "run", *argv),
                env=job.environment(box.api_url),
                cwd=job.text("cwd") or None,
                timeout_secs=job.number("timeout", DEFAULT_TIMEOUT),
            )
            ended = await boxes.run(box, program, context)
        return shell_outcome(ended, program.timeout_secs, context)


def shell_outcome(ended: ProcessEnd, timeout_secs: float, context: RunContext) -> Outcome:
    """Return the end of a shell's run in the published form."""
    if ended.canceled:
        return canceled(context)
    status = ended.status
    result: dict[str, Json] = {
        "failed": status is not Status.SUCCEEDED,
        "succeeded": status is Status.SUCCEEDED,
        "return_code": ended.return_code,
        "stdout": decoded(without_newline(ended.stdout)),
        "stderr": decoded(without_newline(ended.stderr)),
    }
    reason = None
    if ended.timed_out:
        reason = f"Action failed to complete in {timeout_secs:g} seconds"
        result["error"] = reason
    elif ended.out_of_memory:
        reason = "The action was killed: it used more memory than it may."
        result["error"] = reason
    return outcome(status, result, reason)
