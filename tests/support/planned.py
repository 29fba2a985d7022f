"""Plan documents for tests: stored ones that the real Terraform wrote, and ones made by hand. Owns their form; no server."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runyard.infrastructure.plans.model import PlannedResource, Subject
from runyard.infrastructure.plans.reading import PlanFile
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId

STORED = Path(__file__).with_name("plans")
"""`create`, `no_op`, `replace` and `destroy` of one configuration, and the lines of its apply."""
PASSWORD, TOKEN = "hunter2-secret", "tok-plainly-given-9"
"""What is secret in the stored plans: a sensitive variable, and one that only the server knows to be secret."""
AWS = "registry.terraform.io/hashicorp/aws"


def stored(name: str) -> Path:
    """Return the file of a stored plan."""
    return STORED / f"{name}.json"


def change(address: str, actions: str, before: Any = None, after: Any = None, **more: Any) -> dict[str, Any]:
    """Return an entry of `resource_changes`: `actions` are joined by commas."""
    module, _, rest = address.rpartition("module.")
    inside = address
    if module or address.startswith("module."):
        inside = rest.split(".", 1)[1] if "." in rest else rest
    kind, name = inside.split("[")[0].split(".")[-2:]
    fields = {
        name: more.pop(name)
        for name in ("after_unknown", "after_sensitive", "before_sensitive")
        if name in more
    }
    entry: dict[str, Any] = {
        "address": address,
        "mode": "managed",
        "type": kind,
        "name": name,
        "provider_name": AWS,
        "change": {
            "actions": actions.split(","),
            "before": before,
            "after": after,
            "after_unknown": {},
            **fields,
        },
    }
    if inside != address:
        entry["module_address"] = address[: -len(inside) - 1]
    return {**entry, **more}


def document(changes: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return a whole plan."""
    return {
        "format_version": "1.2",
        "terraform_version": "1.11.4",
        "resource_changes": list(changes),
        **more,
    }


def written(folder: Path, plan: Any, name: str = "plan.json") -> Path:
    """Write a plan to a file; bytes as they are."""
    path = folder / name
    path.write_bytes(plan if isinstance(plan, bytes) else json.dumps(plan).encode())
    return path


def read(folder: Path, *changes: dict[str, Any], **more: Any) -> list[PlannedResource]:
    """Return the resources of a plan as they are kept."""
    return list(PlanFile(written(folder, document(changes, **more))).resources())


def subject(**facts: Any) -> Subject:
    """Return a run to be judged."""
    project = ProjectId.new()
    given: dict[str, Any] = {
        "account_id": AccountId.new(),
        "project_id": project,
        "project_path": f"/{project}/",
        "workspace_id": "0e01b22c-7f4b-5e0f-b1c1-faff031977f8",
        "workspace_name": "net-prod",
        "repository": "acme/infra",
        "branch": "main",
        "labels": ("net", "prod"),
        "run_id": "0190a0aa-0000-7000-8000-000000000001",
        "task_id": ExecutionId.new(),
        **facts,
    }
    return Subject(**given)


def large(count: int) -> dict[str, Any]:
    """Return a plan of many resources of the usual size, a third of them without an owner."""
    return document(
        [
            change(
                f'module.net["{number % 20}"].aws_instance.node[{number}]',
                ("create", "update", "no-op")[number % 3],
                None if number % 3 == 0 else _instance(number, "t3.micro"),
                _instance(number, "t3.large" if number % 3 == 1 else "t3.micro"),
                after_unknown={"id": True, "arn": True, "private_ip": True},
                after_sensitive={"tags": {}, "root_block_device": [{}]},
                before_sensitive={},
            )
            for number in range(count)
        ]
    )


def _instance(number: int, size: str) -> dict[str, Any]:
    tags = {"Name": f"node-{number}", **({"Owner": "ana"} if number % 9 else {})}
    return {
        "ami": "ami-0123456789abcdef0",
        "associate_public_ip_address": number % 50 == 0,
        "availability_zone": "eu-west-1a",
        "ebs_optimized": True,
        "instance_type": size,
        "monitoring": False,
        "region": "eu-west-1",
        "root_block_device": [{"volume_size": 20, "volume_type": "gp3", "encrypted": True}],
        "subnet_id": f"subnet-{number % 20:08x}",
        "tags": tags,
        "tags_all": tags,
        "user_data_replace_on_change": False,
        "vpc_security_group_ids": ["sg-0123456789abcdef0", "sg-0fedcba9876543210"],
    }
