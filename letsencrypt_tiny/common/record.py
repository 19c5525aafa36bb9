"""NamedTuple for what every run starts: typing, whose it is, takes 4 ms to load.

Whoever checks types sees typing's own, and so does Python 3.14, which no longer has a class's
annotations at hand while it makes the class (PEP 649).  It is for the web server and what that
imports.
"""

import sys
from collections import namedtuple

TYPE_CHECKING = False   # as typing has it

if TYPE_CHECKING or sys.version_info >= (3, 14):
    from typing import NamedTuple as NamedTuple
else:
    _OWN = ("__module__", "__qualname__", "__annotations__")

    class _Maker(type):
        """Makes of a class body what typing makes of it."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body["__annotations__"]
            made = namedtuple(name, fields, module=body["__module__"],
                              defaults=[body[field] for field in fields if field in body])
            made.__annotations__ = made.__new__.__annotations__ = fields
            for key, value in body.items():
                if key not in fields and key not in _OWN:
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """The base that a record names."""
