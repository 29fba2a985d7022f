"""Errors of policies."""

from runyard.kernel.errors import InvalidArgument, NotFound


class PolicyNotFound(NotFound):
    """There is no such policy."""

    code = "policy_not_found"


class PackageNotFound(NotFound):
    """There is no such policy package."""

    code = "policy_package_not_found"


class PolicyInvalid(InvalidArgument):
    """The code of the policy is not valid Rego."""

    code = "policy_invalid"
