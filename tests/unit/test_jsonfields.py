"""Untrusted JSON: the value of the right type, or ProtocolError."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from letsencrypt_tiny.common.wire import jsonfields as jf
from letsencrypt_tiny.common.errors import ProtocolError


def parse(text: bytes) -> Any:
    """Parse with a limit that is far away."""
    return jf.parse_object(text, "the text", 1 << 20)


@pytest.mark.parametrize("text", [
    b'{}', b' \r\n\t{"a" : [1, -2.5e3, true, null, "\\u00e9\xc3\xa9"]}\n',
    b'{"a":{"b":{}},"c":[[]]}', b'{"":0}', b'{"\\ud83d\\ude00":1}',
    b'{"a":"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"}',
    b'{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}', b'{"a":[%s]}' % b",".join([b"{}"] * 1000),
    b'{"a":' + b'[' * 23 + b']' * 23 + b'}'])
def test_accepted(text: bytes) -> None:
    import json
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize("text", [
    b"", b"{", b"null", b"[]", b'"a"', b"1", b"{}{}", b"{} x", b'{"a":1,}', b"{'a':1}", b"{a:1}",
    b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":-1e400}',
    b'{"a":[1.5, 2e308]}', b'{"a":1' + b"0" * 5000 + b"}", b'{"a":1,"a":1}',
    b'{"a":{"b":1,"b":2}}', b'{"a":1,"\\u0061":2}', b'{"a":"\\ud800"}', b'{"\\udc00":1}',
    b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0",
    b'{"a":"\n"}', b'{"a":"\0"}', b'{"a":"\x1b"}', b'{"a":01}', b'{"a":+1}', b'{"a":.5}',
    b'{"a":0x1}', b'{"a":' * 25 + b"1" + b"}" * 25, b'{"a":' + b"[" * 100000,
    b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}", b'{"a":' * 100000,
    b'{"a":"\\"","b":' + b"[" * 24 + b"]" * 24 + b"}", b"{}\0", b'{"a":"\\x"}', b'{"a":"'])
def test_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("the text ") and message.isprintable() and len(message) < 200


def test_limit() -> None:
    assert jf.parse_object(b'{"a":1}', "x", 7) == {"a": 1}
    with pytest.raises(ProtocolError, match="x is larger than 6 bytes"):
        jf.parse_object(b'{"a":1}', "x", 6)


def test_pathological_input_takes_no_longer_than_its_size() -> None:
    start = time.monotonic()
    for text in (b'{"a":"' + b"[" * 300000 + b'"}', b"[" * 300000, b'{"a":"' + b"\\\\" * 150000,
                 b'{"a":[' + b"[]," * 100000 + b"[]]}"):
        try:
            parse(text)
        except ProtocolError:
            pass
    assert time.monotonic() - start < 4


OBJECT = {"s": "text", "long": "x" * 5000, "n": 5, "f": 1.0, "t": True, "z": None, "o": {"a": 1},
          "l": [1, "a"], "ls": ["a", "b"], "lo": [{}, {"b": 2}], "big": list(range(1001)),
          "longs": ["x" * 4097]}
EXPECTED: "list[tuple[Callable[..., Any], str, tuple[int, ...], Any]]" = [
    (jf.get_str, "s", (), "text"), (jf.get_str, "long", (5000,), "x" * 5000),
    (jf.get_optional_str, "s", (), "text"), (jf.get_optional_str, "z", (), None),
    (jf.get_optional_str, "absent", (), None), (jf.get_object, "o", (), {"a": 1}),
    (jf.get_optional_object, "z", (), None), (jf.get_optional_object, "absent", (), None),
    (jf.get_list, "l", (), [1, "a"]), (jf.get_list, "l", (2,), [1, "a"]),
    (jf.get_objects, "lo", (), [{}, {"b": 2}]), (jf.get_strs, "ls", (), ["a", "b"]),
    (jf.get_int, "n", (5, 5), 5), (jf.get_bool, "t", (), True),
    (jf.get_bool, "absent", (), False), (jf.get_bool, "absent", (True,), True),
    (jf.get_bool, "z", (), False), (jf.get_bool, "z", (True,), True),
    (jf.get_optional_objects, "z", (), []), (jf.get_optional_objects, "absent", (), [])]
WRONG: "list[tuple[Callable[..., Any], str, tuple[int, ...]]]" = [
    (jf.get_str, "n", ()), (jf.get_str, "z", ()), (jf.get_str, "absent", ()),
    (jf.get_str, "o", ()), (jf.get_str, "long", ()), (jf.get_str, "s", (3,)),
    (jf.get_optional_str, "n", ()), (jf.get_optional_str, "long", ()), (jf.get_object, "l", ()),
    (jf.get_object, "s", ()), (jf.get_object, "absent", ()), (jf.get_optional_object, "t", ()),
    (jf.get_list, "s", ()), (jf.get_list, "o", ()), (jf.get_list, "l", (1,)),
    (jf.get_list, "big", ()), (jf.get_list, "z", ()), (jf.get_objects, "l", ()),
    (jf.get_objects, "lo", (1,)), (jf.get_strs, "l", ()), (jf.get_strs, "longs", ()),
    (jf.get_strs, "s", ()), (jf.get_int, "t", (0, 9)), (jf.get_int, "f", (0, 9)),
    (jf.get_int, "n", (6, 9)), (jf.get_int, "n", (0, 4)), (jf.get_int, "s", (0, 9)),
    (jf.get_int, "absent", (0, 9)), (jf.get_bool, "n", ()),
    (jf.get_bool, "s", ())]


@pytest.mark.parametrize("accessor, key, extra, value", EXPECTED)
def test_right_types(accessor: Callable[..., Any], key: str, extra: Any, value: Any) -> None:
    assert accessor(OBJECT, key, *extra) == value


@pytest.mark.parametrize("accessor, key, extra", WRONG)
def test_wrong_types_name_the_key(accessor: Callable[..., Any], key: str, extra: Any) -> None:
    with pytest.raises(ProtocolError, match=f"^“{key}” "):
        accessor(OBJECT, key, *extra)


def test_dump_is_one_line_of_ascii() -> None:
    value = {"z": "a\n\x1b\u2028é😀", "a": [1, None, True]}
    line = jf.dump(value)
    assert line.isascii() and line.decode().isprintable() and line.startswith(b'{"z":')
    assert parse(line) == value
