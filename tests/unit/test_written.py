"""An order is finalized once the master has said that it is written down."""

import os
from collections.abc import Iterator

import pytest

from letsencrypt_tiny.client import written as client
from letsencrypt_tiny.client.written import Unwritten, Written
from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire import written as wire
from letsencrypt_tiny.master.peers import acknowledging
from letsencrypt_tiny.master.peers.acknowledging import Acknowledging

URL = "https://ca.test/order/1"


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[tuple[int, int]]:
    """Both ends of one that doesn't block; whoever uses them closes them."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    yield reader, writer


def looks(written: Written, url: str = URL) -> int:
    """Wait; return after how many looks that was over, at most four."""
    for number, _ in enumerate(written.wait("s", url)):
        if number == 3:
            return 4
    return 0


@pytest.mark.parametrize("section", ["s", "ü", "a\nb", '"'])
@pytest.mark.parametrize("kept", [True, False])
def test_both_ends_agree(section: str, kept: bool) -> None:
    line = wire.format_written(wire.Written(section, URL, kept))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert wire.parse_written(line[:-1]) == wire.Written(section, URL, kept)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"section":1,"url":"","kept":true}',
                                  b'{"section":"s","url":"u","kept":"yes"}', b"\xff"])
def test_what_is_no_line_of_it(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.parse_written(line)


def test_it_is_waited_for(pipe: tuple[int, int]) -> None:
    written, master = Written(pipe[0]), Acknowledging(pipe[1])
    assert looks(written) == 4
    master.say("s", URL + "0", True)      # an earlier order of the section's
    master.say("other", URL, True)
    assert looks(written) == 4
    master.say("s", URL, True)
    assert looks(written) == 0
    master.close()


def test_what_came_with_the_configuration_counts() -> None:
    assert looks(Written(-1, wire.format_written(wire.Written("s", URL, True)))) == 0


def test_what_can_not_be_written_down_is_not_finalized(pipe: tuple[int, int]) -> None:
    written, master = Written(pipe[0]), Acknowledging(pipe[1])
    master.say("s", URL, False)
    with pytest.raises(Unwritten, match="could not be written down"):
        looks(written)
    master.say("s", URL, True)            # the disk has room again
    written._read()
    assert looks(written) == 0
    master.close()


def test_a_master_that_is_gone_keeps_nobody(pipe: tuple[int, int]) -> None:
    os.close(pipe[1])
    assert looks(Written(pipe[0])) == 0


def test_not_for_ever(pipe: tuple[int, int]) -> None:
    waited = 0.0
    with pytest.raises(Unwritten, match="does not say"):
        for seconds in Written(pipe[0]).wait("s", URL):
            assert isinstance(seconds, float)
            waited += seconds
    assert client.LIMIT < waited < client.LIMIT + 1
    os.close(pipe[0])
    os.close(pipe[1])


def test_lines_that_are_none_are_passed_over(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"nonsense\n" + wire.format_written(wire.Written("s", URL, True)) + b"{")
    assert looks(Written(pipe[0])) == 0
    os.close(pipe[1])


def test_nothing_is_said_twice(pipe: tuple[int, int]) -> None:
    master = Acknowledging(pipe[1])
    for _ in range(3):
        master.say("s", URL, True)
    assert os.read(pipe[0], 65536).count(b"\n") == 1
    master.close()
    os.close(pipe[0])


def test_a_client_that_reads_nothing_holds_nobody_up(pipe: tuple[int, int]) -> None:
    master = Acknowledging(pipe[1])
    for number in range(3000):            # far more than a pipe takes
        master.say(f"s{number}", URL, True)
    text = b""
    while b'"s2999"' not in text:
        text += os.read(pipe[0], 65536)
        master.flush()
    assert text.count(b"\n") == 3000
    master.close()
    master.close()
    os.close(pipe[0])


def test_a_client_that_never_reads_fills_no_memory(pipe: tuple[int, int],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledging, "MOST", 100000)
    master = Acknowledging(pipe[1])
    for number in range(3000):
        master.say("s", URL + str(number) + "x" * 500, False)
        assert len(master._left) <= 100000
    with pytest.raises(OSError):
        os.fstat(pipe[1])
    os.close(pipe[0])


def test_a_client_that_is_gone(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    master = Acknowledging(pipe[1])
    master.say("s", URL, True)
    master.say("t", URL, True)
    with pytest.raises(OSError):
        os.fstat(pipe[1])
