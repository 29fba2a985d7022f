"""The masking of secrets in streams, against a model that sees the whole stream at once."""

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from runyard.executions.output.redact import MASK, MIN_SECRET_BYTES, Redactor, mask_text, needles


def model(data: bytes, secrets: Sequence[bytes]) -> bytes:
    """Mark every byte that an occurrence covers, then write one mask for each run of overlapping occurrences."""
    intervals = sorted(
        (start, start + len(secret))
        for secret in secrets
        for start in range(len(data))
        if data.startswith(secret, start)
    )
    merged: list[list[int]] = []
    for start, end in intervals:
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    out, position = b"", 0
    for start, end in merged:
        out += data[position:start] + MASK
        position = end
    return out + data[position:]


tiny = st.binary(max_size=60).map(lambda value: bytes(97 + byte % 3 for byte in value))
secret_lists = st.lists(
    st.binary(min_size=4, max_size=9).map(lambda value: bytes(97 + byte % 3 for byte in value)), max_size=4
)


@given(pieces=st.lists(tiny, max_size=8), secrets=secret_lists)
@example(pieces=[b"aaaa", b"a", b"", b"aaab"], secrets=[b"aaaa"])
@example(pieces=[b"abca", b"bcab", b"cabc"], secrets=[b"abcabc", b"cabcab"])
def test_redactor_any_cut_equals_masking_the_whole(pieces: list[bytes], secrets: list[bytes]) -> None:
    wanted = needles(secrets)
    redactor = Redactor(wanted)
    streamed = b"".join([*(redactor.feed(piece) for piece in pieces), redactor.finish()])
    assert streamed == model(b"".join(pieces), wanted)


@given(data=st.binary(max_size=400), secrets=st.lists(st.binary(min_size=1, max_size=20), max_size=5))
def test_redactor_byte_by_byte_equals_masking_the_whole(data: bytes, secrets: list[bytes]) -> None:
    wanted = needles(secrets)
    redactor = Redactor(wanted)
    streamed = b"".join(
        [*(redactor.feed(data[place : place + 1]) for place in range(len(data))), redactor.finish()]
    )
    assert streamed == model(data, wanted)


@given(data=st.binary(max_size=300))
def test_redactor_without_a_match_withholds_less_than_the_longest_secret(data: bytes) -> None:
    redactor = Redactor(needles([b"0123456789abcdef"]))
    assert len(data) - len(redactor.feed(data)) <= 15 or MASK in model(data, [b"0123456789abcdef"])


def test_redactor_secret_repeated_without_end_keeps_memory_flat() -> None:
    redactor = Redactor(needles([b"aaaaaaaa"]))
    out = sum(len(redactor.feed(b"a" * 65536)) for _ in range(64)) + len(redactor.finish())
    assert out == len(MASK)


def test_needles_short_values_are_left_out() -> None:
    assert needles([b"", b"a", b"abc", b"x" * (MIN_SECRET_BYTES - 1)]) == []


def test_needles_several_lines_are_masked_alone_too() -> None:
    secret = b"-----BEGIN KEY-----\nMIIEvQIBADANBg\n}\n-----END KEY-----\n"
    wanted = needles([secret])
    assert secret in wanted
    assert b"MIIEvQIBADANBg" in wanted
    assert b"}" not in wanted
    printed = secret.replace(b"\n", b"\r\n")
    redactor = Redactor(wanted)
    assert b"MIIE" not in redactor.feed(printed) + redactor.finish()


def test_mask_text_value_in_a_command_is_masked() -> None:
    assert (
        mask_text("curl -H 'Authorization: hunter22' x", [b"hunter22"])
        == "curl -H 'Authorization: [masked]' x"
    )
    assert mask_text("nothing here", [b"hunter22"]) == "nothing here"
