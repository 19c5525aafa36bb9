"""JSON as Go's encoding/json reads it into a struct, which is how ACME servers read requests.

Keys match whatever their case, with the letters that Go folds to ASCII; of duplicates the last
wins; null and unknown keys change nothing; what is no UTF-8, and lone surrogates, become U+FFFD.

``Go`` asks Go itself, by reader.go, where its compiler is installed (Debian's golang-go).
"""

import base64
import codecs
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NoReturn

# What a struct's fields are: str, bool, int, "raw" (json.RawMessage), [of these], {name: these}
Fields = dict[str, Any]

COMPILER = Path("/usr/bin/go")
_INTEGER = re.compile(r"-?[0-9]{1,18}\Z")

# bytes.EqualFold and the foldFuncs of encoding/json: simple case folding (unicode.SimpleFold)
_FOLD = str.maketrans({"\u017f": "s", "\u212a": "k"})

codecs.register_error("each byte", lambda exc: (
    "\ufffd" * (getattr(exc, "end") - getattr(exc, "start")), getattr(exc, "end")))


class GoError(Exception):
    """json.Unmarshal returns an error: the server refuses the request."""


class _Object:
    """An object with its keys in order, duplicates and all."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


class _Number(str):
    """A number, as written."""


def _constant(name: str) -> NoReturn:
    raise ValueError(name)


def fold(key: str) -> str:
    """Return the key as Go compares it."""
    return "".join(char.lower() if char.isascii() else char for char in key.translate(_FOLD))


def unmarshal(data: bytes, fields: Fields) -> dict[str, Any]:
    """Return what a struct with these fields holds afterwards; raises GoError."""
    try:
        value = json.loads(data.decode("utf-8", "each byte"), object_pairs_hook=_Object,
                           parse_int=_Number, parse_float=_Number, parse_constant=_constant)
    except (ValueError, RecursionError) as exc:
        raise GoError(str(exc)) from exc
    found = {name: _zero(kind) for name, kind in fields.items()}
    if value is None:
        return found
    if not isinstance(value, _Object):
        raise GoError("not an object")
    _fill(found, value, fields)
    return found


def _zero(kind: Any) -> Any:
    if isinstance(kind, list):
        return None
    if isinstance(kind, dict):
        return {name: _zero(of) for name, of in kind.items()}
    return {str: "", bool: False, int: 0, "raw": None}[kind]


def _fill(target: dict[str, Any], value: _Object, fields: Fields) -> None:
    names = {fold(name): name for name in fields}
    for key, item in value.pairs:
        name = key if key in fields else names.get(fold(_text(key)))
        if name is not None:
            target[name] = _convert(target[name], item, fields[name])


def _convert(old: Any, item: Any, kind: Any) -> Any:
    if kind == "raw":
        return item
    if item is None:
        return None if isinstance(kind, list) else old
    if isinstance(kind, list) and isinstance(item, list):
        # an element of before is not cleared, but filled
        before = list(old or []) + [_zero(kind[0])] * len(item)
        return [_convert(was, one, kind[0]) for was, one in zip(before, item)]
    if isinstance(kind, dict) and isinstance(item, _Object):
        found = dict(old)
        _fill(found, item, kind)
        return found
    if kind is str and isinstance(item, str) and not isinstance(item, _Number):
        return _text(item)
    if kind is bool and isinstance(item, bool):
        return item
    if kind is int and isinstance(item, _Number) and _INTEGER.match(item):
        return int(item)
    raise GoError(f"{item!r} is no {kind}")


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode() if text.isascii() else "".join(
        "\ufffd" if 0xd800 <= ord(char) < 0xe000 else char for char in text)


class Go:
    """Go itself, which reads JSON into ``structs``, and CSRs: a process, a question at a time."""

    def __init__(self, structs: dict[str, Fields]) -> None:
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run([COMPILER, "build", "-o", directory,
                            Path(__file__).with_name("reader.go")], check=True)
            process = subprocess.Popen(
                [f"{directory}/reader", json.dumps(structs, default=lambda kind: kind.__name__)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin and process.stdout
        self._questions, self._answers = process.stdin, process.stdout

    def read(self, kind: str, data: bytes) -> Any:
        """Return what Go reads in ``data``: a struct by its name, or a "csr"; None if it can't."""
        self._questions.write(kind.encode() + b" " + base64.b64encode(data) + b"\n")
        self._questions.flush()
        return json.loads(self._answers.readline().decode("utf-8", "replace"))
