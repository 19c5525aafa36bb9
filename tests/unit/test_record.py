"""common/record: what typing's NamedTuple would be."""

import typing

import pytest

from letsencrypt_tiny.common import record


class Ours(record.NamedTuple):
    """A record."""

    first: int
    second: str = "x"
    third: tuple[int, ...] = ()

    @property
    def both(self) -> str:
        """Two of them."""
        return f"{self.first}{self.second}"

    def __str__(self) -> str:
        return "shown"


class Theirs(typing.NamedTuple):
    """A record."""

    first: int
    second: str = "x"
    third: tuple[int, ...] = ()

    @property
    def both(self) -> str:
        """Two of them."""
        return f"{self.first}{self.second}"

    def __str__(self) -> str:
        return "shown"


def test_it_is_what_typing_makes() -> None:
    ours, theirs = Ours(1, third=(2,)), Theirs(1, third=(2,))
    assert ours == theirs == (1, "x", (2,)) and isinstance(ours, tuple)
    assert (ours.both, str(ours), repr(ours)) == ("1x", "shown", "Ours(first=1, second='x', "
                                                  "third=(2,))")
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    for name in ("_fields", "_field_defaults", "__annotations__", "__doc__", "__module__",
                 "__slots__"):
        assert getattr(Ours, name) == getattr(Theirs, name), name
    assert Ours.__qualname__ == "Ours" and ours._replace(first=3) == Ours._make((3, "x", (2,)))
    assert ours._asdict() == theirs._asdict() and hash(ours) == hash(theirs)
    for make in Ours, Theirs:
        with pytest.raises(TypeError):
            make()   # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        ours.first = 2   # type: ignore[misc]
