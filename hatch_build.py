"""Build hook of the wheel: compiles `runyard-agent` where a compiler is, and tags the wheel for this platform then.

Without a compiler the wheel is pure and the agent is compiled at the server's first start. An sdist has sources only.
"""

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "src/runyard/runtimes/isolation/native"


class AgentBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg,unused-ignore]
    """Adds the compiled agent to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before files are collected; an editable install uses what is compiled at first start."""
        if self.target_name != "wheel" or version == "editable":
            return
        build = _load(Path(self.root, NATIVE, "build.py"))
        target = Path(self.directory, build.PROGRAM)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            build.compile_agent(target)
        except build.CannotCompile as error:
            self.app.display_warning(f"the wheel carries no compiled agent: {error}")
            return
        build_data["force_include"][str(target)] = f"runyard/runtimes/isolation/native/{build.PROGRAM}"
        # Static, so any Linux of this machine type will do; any Python 3 too.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the compiled program beside the wheel; it is inside now."""
        Path(self.directory, "runyard-agent").unlink(missing_ok=True)


def _load(path: Path) -> ModuleType:
    """Import a file by its path: while a wheel is built its package is not installed."""
    spec = importlib.util.spec_from_file_location("runyard_agent_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
