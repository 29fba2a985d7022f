"""What a judge says. Owns the verdict, the reading of reward files, and how graders by execute are told."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runyard.environments.building.files import read_file
from runyard.environments.packages.errors import BadPackage
from runyard.environments.packages.verification import read_verification
from runyard.environments.staging import TASK_FOLDER
from runyard.kernel.errors import NotFound, RunyardError
from runyard.runtimes.isolation.engine import Sandbox

REWARD_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a task was judged."""

    reward: float | None
    """None when the judge itself failed, which is no outcome of the task."""
    method: str
    detail: str
    output: str = ""
    rewards: Mapping[str, float] = field(default_factory=dict)
    """What a judge tells apart."""
    outputs: Sequence[str] = ()
    """What was carried into the copy."""

    @property
    def passed(self) -> bool:
        """Tell whether the task is solved."""
        return self.reward is not None and self.reward >= 1.0


async def rewarded(sandbox: Sandbox, folder: str) -> Verdict:
    """Read the reward that a judge wrote: one finite number, or several by name. Anything else is its failure. The text
    counts where there are both, as in Harbor: the other file tells then what it was made of.
    """
    for name in ("reward.txt", "reward.json"):
        try:
            text = (await read_file(sandbox, f"{folder}/{name}", REWARD_BYTES)).decode("utf-8", "replace")
        except NotFound:
            continue
        except RunyardError as error:
            return Verdict(reward=None, method="script", detail=error.message)
        return read_reward(name, text)
    return Verdict(reward=None, method="script", detail=f"the script left no reward in {folder}")


def read_reward(name: str, text: str) -> Verdict:
    """Read the content of a reward file; its reward is None where it holds no finite number."""
    try:
        value: Any = json.loads(text) if name.endswith(".json") else float(text.strip())
    except (ValueError, RecursionError):
        value = None
    rewards = value if isinstance(value, dict) else {"reward": value}
    numbers = {str(key): number for key, one in rewards.items() if (number := _finite(one)) is not None}
    if not numbers or len(numbers) != len(rewards):
        return Verdict(reward=None, method="script", detail=f"{name} holds no finite number")
    reward = numbers.get("reward", sum(numbers.values()) / len(numbers))
    return Verdict(reward=reward, method="script", detail=f"the script wrote {name}", rewards=numbers)


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def translated(verification: Mapping[str, Any], task_folder: str = TASK_FOLDER) -> Mapping[str, Any]:
    """Return a verification in the words that graders of environments read; what has none in them stays, so that a
    grader says so: they know no judges, and no hash but SHA-256.
    """
    try:
        read = read_verification(verification)
    except BadPackage:
        return verification
    if read.method == "script":
        return {
            "method": "env_script",
            "script_path": f"{task_folder}/{read.script}",
            "expected_exit_code": 0,
            "timeout_sec": read.timeout_sec,
        }
    if read.method != "flag":
        return verification
    found: dict[str, Any] = {"method": "env_flag", "flag_path": read.path, "timeout_sec": 10}
    if read.hash is None:
        # They strip what they read, and not what they expect.
        return {**found, "expected": (read.value or "").strip()}
    algorithm, digits = read.hash
    return {**found, "hash": f"{algorithm}:{digits}"} if algorithm == "sha256" else verification
