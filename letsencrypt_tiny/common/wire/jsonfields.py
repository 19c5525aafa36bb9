"""Typed access to untrusted JSON: the value of the right type, or ProtocolError.

Small accessors instead of a schema language; each names what it looked at.
"""

import json
from typing import Any, NoReturn

from ..errors import ProtocolError

JsonObject = dict[str, Any]

# Deeper than any message of RFC 8555; far from Python's recursion limit.
MAX_DEPTH = 24


def parse_object(text: bytes, what: str, limit: int) -> JsonObject:
    """Parse ``text`` (UTF-8, at most ``limit`` bytes) as one strict JSON object (RFC 8259).

    Duplicate keys, NaN and Infinity, lone surrogates, huge numbers and deep nesting
    are refused.  ``what`` names the text in the message of the ProtocolError.
    """
    if len(text) > limit:
        raise ProtocolError(f"{what} is larger than {limit} bytes")
    try:
        string = text.decode("utf-8")
        if not _shallow(string):
            raise ProtocolError(f"{what} is nested too deeply")
        value = _DECODER.decode(string)
        if "\\" in string:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # no lone \ud800
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"{what} is not valid JSON ({_reason(exc)})") from exc
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} is not a JSON object")
    return value


def _shallow(string: str) -> bool:
    """True if no more than MAX_DEPTH brackets are open at once (brackets in strings count too:
    cheap, and only a text that holds many of them unbalanced is refused wrongly)."""
    depth = string.count("{") + string.count("[")
    if depth <= MAX_DEPTH:
        return True
    depth = 0
    quoted = escaped = False
    for char in string:
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return False
        elif char in "]}":
            depth -= 1
    return True


def _no_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a huge number")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_float=_finite,
                            parse_constant=_no_constant)


def _reason(exc: Exception) -> str:
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg} at character {exc.pos}"
    if isinstance(exc, UnicodeError):
        return "not UTF-8"
    return str(exc).split(":")[0] or type(exc).__name__


# One of each: to make another each time takes as long as a short message does
_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_float=_finite,
                            parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def dump(value: JsonObject) -> bytes:
    """Encode ``value`` as compact JSON in ASCII, on one line, in the order given."""
    return _ENCODER.encode(value).encode("ascii")


def get_str(obj: JsonObject, key: str, limit: int = 4096) -> str:
    """Return the string ``key`` of ``obj`` (at most ``limit`` characters); raises ProtocolError."""
    value = obj.get(key)
    if not isinstance(value, str):
        raise ProtocolError(f"“{key}” is missing" if value is None else f"“{key}” is not a string")
    if len(value) > limit:
        raise ProtocolError(f"“{key}” is longer than {limit} characters")
    return value


def get_optional_str(obj: JsonObject, key: str, limit: int = 4096) -> str | None:
    """Like get_str, None where the key is absent or null."""
    return None if obj.get(key) is None else get_str(obj, key, limit)


def get_object(obj: JsonObject, key: str) -> JsonObject:
    """Return the object ``key`` of ``obj``; raises ProtocolError."""
    value = obj.get(key)
    if not isinstance(value, dict):
        raise ProtocolError(f"“{key}” is missing" if value is None else f"“{key}” is not an object")
    return value


def get_optional_object(obj: JsonObject, key: str) -> JsonObject | None:
    """Like get_object, None where the key is absent or null."""
    return None if obj.get(key) is None else get_object(obj, key)


def get_list(obj: JsonObject, key: str, limit: int = 1000) -> list[Any]:
    """Return the array ``key`` of ``obj`` (at most ``limit`` elements); raises ProtocolError."""
    value = obj.get(key)
    if not isinstance(value, list):
        raise ProtocolError(f"“{key}” is missing" if value is None else f"“{key}” is not an array")
    if len(value) > limit:
        raise ProtocolError(f"“{key}” has more than {limit} elements")
    return value


def get_objects(obj: JsonObject, key: str, limit: int = 1000) -> list[JsonObject]:
    """Return the array of objects ``key`` of ``obj``; raises ProtocolError."""
    values = get_list(obj, key, limit)
    for value in values:
        if not isinstance(value, dict):
            raise ProtocolError(f"“{key}” has an element that is not an object")
    return values


def get_optional_objects(obj: JsonObject, key: str, limit: int = 1000) -> list[JsonObject]:
    """Like get_objects, empty where the key is absent or null."""
    return [] if obj.get(key) is None else get_objects(obj, key, limit)


def get_strs(obj: JsonObject, key: str, limit: int = 1000) -> list[str]:
    """Return the array of strings ``key`` of ``obj``; raises ProtocolError."""
    values = get_list(obj, key, limit)
    for value in values:
        if not isinstance(value, str) or len(value) > 4096:
            raise ProtocolError(f"“{key}” has an element that is not a (short) string")
    return values


def get_int(obj: JsonObject, key: str, least: int, most: int) -> int:
    """Return the integer ``key`` of ``obj`` within ``least`` … ``most``; raises ProtocolError."""
    value = obj.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ProtocolError(f"“{key}” is not a number from {least} to {most}")
    return value


def get_bool(obj: JsonObject, key: str, default: bool = False) -> bool:
    """Return the boolean ``key`` of ``obj``, ``default`` where it is absent or null.

    Raises ProtocolError.
    """
    value = obj.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ProtocolError(f"“{key}” is not true or false")
    return value
