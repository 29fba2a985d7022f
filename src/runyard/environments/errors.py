"""What can go wrong with environments, in words of the domain. No HTTP."""

from runyard.kernel.errors import (
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Unauthenticated,
    Unavailable,
)


class EnvironmentNotFound(NotFound):
    """Environment not found."""

    code = "environment_not_found"


class EnvironmentNotReady(FailedPrecondition):
    """The environment is not in a state that allows this."""

    code = "environment_not_ready"


class WrongExecuteToken(Unauthenticated):
    """The execute token is missing or not valid."""

    code = "wrong_execute_token"


class TooManyEnvironments(LimitExceeded):
    """This server runs as many environments as it may."""

    code = "too_many_environments"


class TooManyExecutes(LimitExceeded):
    """The environment runs as many commands as it may, and as many wait."""

    code = "too_many_executes"


class BuildFailed(Unavailable):
    """The task's image cannot be built."""

    code = "build_failed"


class ProvisionFailed(Unavailable):
    """The environment cannot be provisioned."""

    code = "provision_failed"


class BadCompose(InvalidArgument):
    """The compose file says something that cannot be done here."""

    code = "bad_compose"


class BadDockerfile(InvalidArgument):
    """The Dockerfile says something that cannot be done here."""

    code = "bad_dockerfile"


class VerificationUnsupported(FailedPrecondition):
    """The task cannot be verified here."""

    code = "verification_unsupported"
