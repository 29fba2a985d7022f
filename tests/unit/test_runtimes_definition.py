"""What callers may ask of a runtime: names, resources, environment, egress, idling, secrets, patches."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.kernel.errors import InvalidArgument, Unimplemented
from runyard.runtimes.amendment import Patch, amended
from runyard.runtimes.definition import (
    Definition,
    EgressMode,
    EgressPolicy,
    IdleMode,
    IdlePolicy,
    IngressSpec,
    ResourceLimits,
    Resources,
    SecretFile,
    SecretUse,
    SecretVariable,
    check_environment,
    check_name,
)
from runyard.runtimes.errors import RevisionConflict, TransitionRefused
from runyard.runtimes.files import inside
from runyard.runtimes.model import Status
from runyard.runtimes.options import ExecOptions
from runyard.runtimes.requests import ARGUMENT_BYTES, CommandRequest, text_of
from tests.unit.test_runtimes_model import runtime

LIMITS = ResourceLimits(vcpus=4, memory_mib=4096, disk_gib=100)


def invalid(**fields: Any) -> None:
    with pytest.raises(InvalidArgument):
        Definition(**fields).validate(LIMITS)


@given(st.text(min_size=1, max_size=63).filter(lambda name: name.isprintable()))
def test_printable_names_up_to_63_characters_are_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0", "a\nb", "\x7f"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_name(name)


@pytest.mark.parametrize(
    ("fields", "maximum"),
    [
        ({"vcpus": 5}, "4"),
        ({"memory_limit_mib": 4097}, "4096"),
        ({"disk_gib": 101}, "100"),
        ({"vcpus": 0}, "4"),
    ],
)
def test_resources_beyond_the_server_are_refused_naming_the_maximum(
    fields: dict[str, int], maximum: str
) -> None:
    with pytest.raises(InvalidArgument, match=maximum):
        Definition(resources=Resources(**fields)).validate(LIMITS)


def test_memory_limit_below_the_request_is_refused() -> None:
    invalid(resources=Resources(memory_mib=2048, memory_limit_mib=1024))


@pytest.mark.parametrize(
    "variables",
    [
        {"1A": "x"},
        {"A-B": "x"},
        {"": "x"},
        {"A" * 129: "x"},
        {"A": "x" * 8193},
        {"A": "a\nb"},
        {"A": "\0"},
        {"RUNTA_X": "x"},
        {f"A{number}": "x" for number in range(65)},
        {f"A{number}": "x" * 8000 for number in range(9)},
    ],
)
def test_environment_beyond_the_contract_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        check_environment(variables)


def test_egress_is_open_or_nothing() -> None:
    EgressPolicy().validate()
    EgressPolicy(mode=EgressMode.ALLOWLIST).validate()
    EgressPolicy(allowed_hosts=("kept.example.com",)).validate()
    for policy in (
        EgressPolicy(mode=EgressMode.ALLOWLIST, allowed_hosts=("a.example",)),
        EgressPolicy(denied_hosts=("a.example",)),
    ):
        with pytest.raises(Unimplemented):
            policy.validate()


@pytest.mark.parametrize("seconds", [None, 0, 2**31])
def test_idle_policy_needs_its_seconds(seconds: int | None) -> None:
    invalid(idle=IdlePolicy(mode=IdleMode.SUSPEND_ONLY, suspend_after_secs=seconds))


@pytest.mark.parametrize("template", ["", "x", "${secret}${secret}", "${secret", "$secret"])
def test_secret_template_needs_the_placeholder_exactly_once(template: str) -> None:
    invalid(
        secrets=(SecretUse(secret_id="s", environment=(SecretVariable(name="A", value_template=template),)),)
    )


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x", "a/", "a/.", "a\0"])
def test_secret_file_stays_below_home(path: str) -> None:
    invalid(secrets=(SecretUse(secret_id="s", files=(SecretFile(path=path, value_template="${secret}"),)),))


def test_definition_survives_the_database() -> None:
    one = Definition(
        base="dir:x",
        resources=Resources(vcpus=2, disk_gib=40),
        egress=EgressPolicy(mode=EgressMode.ALLOWLIST),
        idle=IdlePolicy(mode=IdleMode.SUSPEND_AND_WAKEUP, suspend_after_secs=9),
        ingress=(IngressSpec(protocol="http", runtime_port=80),),
        environment={"A": "b"},
        secrets=(SecretUse(secret_id="s", files=(SecretFile(path="f", value_template="${secret}"),)),),
    )
    assert msgspec.convert(msgspec.to_builtins(one), Definition) == one


def test_patch_leaves_out_what_it_does_not_name() -> None:
    one = runtime()
    amend = amended(one, Patch(memory_mib=2048), "me", None)
    assert amend.definition == replace(
        one.definition, resources=Resources(memory_mib=2048, memory_limit_mib=2048)
    )
    assert amend.display_name == one.display_name
    assert amended(one, Patch(memory_limit_mib=512), "me", None).definition.resources.memory_mib == 512


def test_patch_of_the_disk_needs_a_stopped_runtime_and_only_grows() -> None:
    with pytest.raises(TransitionRefused):
        amended(runtime(), Patch(disk_gib=64), "me", None)
    stopped = runtime(Status.SHUTDOWN)
    assert amended(stopped, Patch(disk_gib=64), "me", None).definition.resources.disk_gib == 64
    big = replace(stopped, definition=Definition(resources=Resources(disk_gib=99)))
    with pytest.raises(InvalidArgument):
        amended(big, Patch(disk_gib=64), "me", None)


def test_patch_at_a_stale_revision_is_refused_with_the_phrase() -> None:
    with pytest.raises(RevisionConflict, match=r"^runtime revision conflict: "):
        amended(runtime(), Patch(display_name="x"), "me", 99)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_cut_output_never_ends_in_half_a_character(data: bytes, at: int) -> None:
    whole = text_of(data, cut=False)
    part = text_of(data[:at], cut=True)
    assert whole.startswith(part.rstrip("\ufffd"))


@given(st.text(max_size=50), st.integers(0, 200))
def test_cut_text_is_a_prefix_without_replacements(text: str, at: int) -> None:
    assert text.startswith(text_of(text.encode("utf-8", "ignore")[:at], cut=True)) or not text.isprintable()


@pytest.mark.parametrize(
    "request_",
    [
        CommandRequest(),
        CommandRequest(argv=("",)),
        CommandRequest(argv=("a", "b\0")),
        CommandRequest(script=""),
        CommandRequest(script="x" * (ARGUMENT_BYTES + 1)),
        CommandRequest(argv=("x",) + ("y" * 100_000,) * 20),
        CommandRequest(argv=("x",), env={"": "1"}),
        CommandRequest(argv=("x",), env={"A=B": "1"}),
        CommandRequest(argv=("x",), cwd=""),
        CommandRequest(argv=("x",), timeout_secs=-1),
        CommandRequest(argv=("x",), timeout_secs=86_401),
        CommandRequest(argv=("x",), max_output_bytes=-1),
        CommandRequest(argv=("x",), max_output_bytes=1 << 40),
    ],
)
def test_command_that_could_not_be_started_is_refused_before(request_: CommandRequest) -> None:
    with pytest.raises(InvalidArgument):
        request_.validate(ExecOptions())


@pytest.mark.parametrize(
    ("path", "full"), [("/a", "/a"), ("a/b", "/root/a/b"), ("../x", "/root/../x"), ("é", "/root/é")]
)
def test_path_is_absolute_or_below_home(path: str, full: str) -> None:
    assert inside(path) == full


@pytest.mark.parametrize("path", ["", "/a\0b", "/" + "x" * 256, "/a" * 3000, "\ud800"])
def test_bad_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument):
        inside(path)
