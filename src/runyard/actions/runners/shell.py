"""local-shell-cmd and local-shell-script: a command line, or a script of the pack, in a box of its own."""

from runyard.actions.packs.folder import entry_point_path
from runyard.actions.parameters.split import script_arguments
from runyard.actions.runners.boxes import HOME, Boxes, Program, packed, put_file
from runyard.actions.runners.job import Job, ProcessEnd, canceled, decoded, failed, outcome, without_newline
from runyard.actions.values import Json
from runyard.executions.model import Outcome, Status
from runyard.executions.worker import RunContext

DEFAULT_TIMEOUT = 60.0
UNPACK = f'tar -xf {HOME}/pack.tar -C {HOME} && exec "$@"'
"""Unpacks what was put beside and becomes the program, so that its status and its signals are its own."""


class ShellRunner:
    """Runs command lines."""

    def __init__(self, boxes: Boxes) -> None:
        """Use boxes."""
        self._boxes = boxes

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Run the command of the job."""
        program = Program(
            argv=("/bin/bash", "-c", job.text("cmd")),
            env=job.environment(),
            cwd=job.text("cwd") or None,
            timeout_secs=job.number("timeout", DEFAULT_TIMEOUT),
        )
        async with self._boxes.box() as sandbox:
            ended = await self._boxes.run(sandbox, program, context)
        return shell_outcome(ended, program.timeout_secs, context)


class ScriptRunner:
    """Runs scripts of packs."""

    def __init__(self, boxes: Boxes) -> None:
        """Use boxes."""
        self._boxes = boxes

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Run the script of the job with its parameters as arguments. Raises InvalidMetadata without a script."""
        if job.pack_folder is None:
            return failed(f'the pack "{job.action.pack}" has no folder on this server')
        script = entry_point_path(job.pack_folder, job.action.entry_point)
        inside = f"{HOME}/pack/{script.relative_to(job.pack_folder.resolve())}"
        arguments = script_arguments(job.parameters, job.given.action, job.text("kwarg_op", "--"))
        argv = (inside, *arguments) if script.read_bytes()[:2] == b"#!" else ("/bin/bash", inside, *arguments)
        program = Program(
            argv=(
                "/bin/sh",
                "-c",
                f"{UNPACK.replace(' && exec', f' && chmod +x {inside!r} && exec')}",
                "run",
                *argv,
            ),
            env=job.environment(),
            cwd=job.text("cwd") or None,
            timeout_secs=job.number("timeout", DEFAULT_TIMEOUT),
        )
        async with self._boxes.box() as sandbox:
            await put_file(sandbox, f"{HOME}/pack.tar", packed({"pack": job.pack_folder}))
            ended = await self._boxes.run(sandbox, program, context)
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
