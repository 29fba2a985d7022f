"""Words of a vocabulary in requests: which one is wrong is said, and nothing blank is passed over where it would widen."""

from enum import StrEnum

import pytest

from runyard.dialects import reading
from runyard.kernel.errors import InvalidArgument


class Colour(StrEnum):
    """A vocabulary."""

    RED = "red"
    BLUE = "blue"


def test_words_of_the_vocabulary_come_once_each() -> None:
    assert reading.words(["red", "blue", "red"], "colour", Colour) == (Colour.RED, Colour.BLUE)
    assert reading.listed_words({"colour": " blue ,,red"}, "colour", Colour) == (Colour.BLUE, Colour.RED)
    assert reading.listed_words({}, "colour", Colour) == ()


@pytest.mark.parametrize("wrong", ["green", "RED", "", " red"])
def test_word_that_is_none_is_named_with_all_that_are(wrong: str) -> None:
    """A blank one too: an empty list of scopes means all of them, so a blank scope must not become one."""
    with pytest.raises(InvalidArgument) as refused:
        reading.words(["red", wrong], "colour", Colour)
    assert refused.value.message == f"unknown colour {wrong!r}; known are red, blue"
