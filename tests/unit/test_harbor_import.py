"""What of a Harbor task becomes what of a package, and what is refused instead of left out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from runyard.client.harbor import BadTask, convert


def imported(folder: Path, toml: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Import a task with some settings; return its manifest and the service `main`."""
    source, target = folder / "task", folder / "package"
    for name, content in {
        "task.toml": toml,
        "instruction.md": "Do it.\n",
        "environment/Dockerfile": "FROM python:3.12-slim\nWORKDIR /app\n",
        "tests/test.sh": "#!/bin/bash\n",
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content)
    target.mkdir()
    manifest = convert(source, target)
    compose = yaml.safe_load((target / "docker-compose.yaml").read_text())
    return dict(manifest), compose["services"]["main"]


@pytest.mark.parametrize(
    ("toml", "allowed"),
    [
        ("", None),
        ("[environment]\nnetwork_mode = 'public'", None),
        ("[environment]\nallow_internet = false", []),
        ("[environment]\nnetwork_mode = 'no-network'", []),
        ("[environment]\nallowed_hosts = ['a.example']", ["a.example"]),
        ("[environment]\nnetwork_mode = 'allowlist'\nallowed_hosts = ['a.example']", ["a.example"]),
        ("[environment]\nnetwork_mode = 'allowlist'", []),
        ("[agent]\nnetwork_mode = 'no-network'", []),
        ("[agent]\nnetwork_mode = 'no-network'\n[environment]\nnetwork_mode = 'public'", []),
        ("[agent]\nnetwork_mode = 'public'\n[environment]\nnetwork_mode = 'no-network'", None),
        ("[agent]\nnetwork_mode = 'public'\n[environment]\nallow_internet = false", None),
        ("[agent]\nallowed_hosts = ['a.example']", ["a.example"]),
    ],
)
def test_network_of_the_agents_phase_is_the_egress(
    tmp_path: Path, toml: str, allowed: list[str] | None
) -> None:
    manifest, _ = imported(tmp_path, toml)
    assert manifest.get("egress") == (None if allowed is None else {"allow": allowed})


def test_artifacts_health_and_older_memory_are_carried_over(tmp_path: Path) -> None:
    toml = """artifacts = ["/out", {source = "/app/model", destination = "model"}]
[environment]
memory = "2G"
[environment.healthcheck]
command = "test -e /ready"
retries = 5
"""
    manifest, main = imported(tmp_path, toml)
    assert manifest["outputs"] == ["/out", "/app/model"]
    assert main["mem_limit"] == "2g"
    assert main["healthcheck"] == {
        "test": ["CMD-SHELL", "test -e /ready"],
        "interval": "5s",
        "timeout": "30s",
        "start_period": "0s",
        "retries": 5,
    }


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[verifier.environment]\ndocker_image = 'x'", "environment of its own"),
        ("[[verifier.collect]]\ncommand = 'x'", "verifier.collect"),
        ("[environment.tpu]\ntype = 'v4'", "TPUs"),
        ("[agent]\nnetwork_mode = 'some'", "network mode"),
        ("artifacts = [{source = '/x', service = 'db'}]", "other services"),
    ],
)
def test_what_would_be_left_out_is_refused(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(BadTask, match=said):
        imported(tmp_path, toml)
