"""Errors of plans."""

from runyard.kernel.errors import InvalidArgument, NotFound


class PlanUnreadable(InvalidArgument):
    """The plan is not a JSON document that Terraform or OpenTofu writes."""

    code = "plan_unreadable"


class PlanNotFound(NotFound):
    """There is no plan of this run."""

    code = "plan_not_found"
