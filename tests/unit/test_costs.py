"""Prices and estimates."""

import json
from pathlib import Path
from typing import Any

import pytest

from runyard.infrastructure.costs.errors import BadEstimate, BadPrices
from runyard.infrastructure.costs.estimate import ResourceCost, parse
from runyard.infrastructure.costs.table import HOURS, load, shipped


@pytest.mark.parametrize(
    ("kind", "attributes", "month"),
    [
        ("aws_instance", {"instance_type": "m5.large"}, 0.096 * HOURS + 8 * 0.08),
        ("aws_instance", {"instance_type": "m5.large", "root_block_device": [{"volume_size": 100}]}, 0.096 * HOURS + 8),
        ("aws_instance", {"instance_type": "no.such"}, None),
        ("aws_ebs_volume", {"type": "gp3", "size": 100}, 8.0),
        ("aws_ebs_volume", {"type": "of-tomorrow", "size": "100"}, 10.0),
        ("aws_db_instance", {"instance_class": "db.t3.micro", "allocated_storage": 20}, 0.017 * HOURS + 2.3),
        (
            "aws_db_instance",
            {"instance_class": "db.t3.micro", "allocated_storage": 20, "multi_az": True},
            2 * 0.017 * HOURS + 2.3,
        ),
        ("aws_vpc", {}, 0.0),
        ("aws_eks_node_group", {"instance_types": ["t3.large"], "scaling_config": [{"desired_size": 3}]}, 0.0832 * HOURS * 3),
        ("unheard_of", {}, None),
    ],
)  # fmt: skip
def test_shipped_table_prices_by_attributes(
    kind: str, attributes: dict[str, Any], month: float | None
) -> None:
    found = shipped().month(kind, attributes)
    assert found == (None if month is None else pytest.approx(month, abs=0.001))


def test_table_of_the_operator_wins_by_type(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(
        json.dumps({"about": "ours", "types": {"terraform_data": [{"month": 5, "times": "count"}]}})
    )
    prices = load(path)
    assert prices.month("terraform_data", {"count": 3}) == 15
    assert prices.month("aws_kms_key", {}) == 1.0
    path.write_text('{"types": 3}')
    with pytest.raises(BadPrices, match="not a valid price table"):
        load(path)
    with pytest.raises(BadPrices, match="cannot be read"):
        load(tmp_path / "none.json")


def test_estimates_of_both_forms_are_read() -> None:
    own = parse(
        b'{"before": 1, "after": 2.5, "source": "ours", "resources": {"a.b": {"before": null, "after": 1.5}}}'
    )
    assert (own.before, own.after, own.source) == (1, 2.5, "ours")
    assert own.resources["a.b"] == ResourceCost(None, 1.5)
    report = {
        "totalMonthlyCost": "12.5",
        "pastTotalMonthlyCost": "10",
        "projects": [
            {
                "pastBreakdown": {"resources": [{"name": "a.b", "monthlyCost": "10"}]},
                "breakdown": {"resources": [{"name": "a.b", "monthlyCost": "12.5"}, {"name": "c.d", "monthlyCost": None}]},
            }
        ],
    }  # fmt: skip
    found = parse(json.dumps(report).encode())
    assert (found.before, found.after, found.source) == (10, 12.5, "infracost")
    assert found.resources["a.b"] == ResourceCost(10, 12.5)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"before": "x", "after": 1}', b'{"before": -1, "after": 1}', b'{"totalMonthlyCost": "cheap"}', b"[" * 9999],
)  # fmt: skip
def test_estimate_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(BadEstimate):
        parse(content)
