"""Whatever is read of others is read, or refused by the reader's own error: by hypothesis.

The same table, guided by what is reached and for longer: ``make fuzz``.
"""

import random
import time

import pytest

from fuzz import remembered
from fuzz.readers import CA, CORPUS, OWN, REACHED, RULES, Reader, corpus, folder, readers
from letsencrypt_tiny.common.wire import jose, jsonfields
from letsencrypt_tiny.signer import policy

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings, strategies as st  # noqa: E402

ALL = readers()
SECONDS = 1.0      # that one input may take; most take some microseconds
WORDS = [b"", b"\0", b"\n", b"\r\n", b"\x1b[", b"\xff\xfe", b"\"", b"\\", b"{", b"[" * 300, b"}",
         b"null", b"NaN", b"1e999", b"-1", b"9" * 400, b"true", b"..", b"%00", b"\xc5\xbf",
         b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"A" * 5000, b":", b"=", b" ", b"\t", b"#", b";"]


def changed(seed: bytes, changes: "list[tuple[int, int, int, int]]") -> bytes:
    """Return ``seed`` after changes: kind, place, length or bit, word."""
    for kind, place, size, word in changes:
        at = place % (len(seed) + 1)
        end = min(len(seed), at + size % 40)
        if kind == 0:
            seed = seed[:at] + WORDS[word % len(WORDS)] + seed[at:]
        elif kind == 1:
            seed = seed[:at] + seed[end:]
        elif kind == 2:
            seed = seed[:at] + seed[at:end] * 2 + seed[end:]
        elif kind == 3 and seed:
            at %= len(seed)
            seed = seed[:at] + bytes([seed[at] ^ 1 << size % 8]) + seed[at + 1:]
        elif kind == 4:
            seed = seed[:at]
    return seed


def read(reader: Reader, data: bytes) -> bool:
    """Let it be read; say whether it was."""
    began = time.monotonic()
    try:
        reader.read(data)
        return True
    except reader.error:
        return False
    finally:
        assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("name", ALL)
def test_seeds(name: str) -> None:
    """… are read: or nothing would be tried of what comes after the first check."""
    assert ALL[name].seeds and all(read(ALL[name], seed) for seed in ALL[name].seeds)


def test_seeds_are_the_same_each_time() -> None:
    """… or nothing that is found could be found again: what is fresh, or of today, is no seed."""
    again = readers()
    assert {name: list(reader.seeds) for name, reader in ALL.items()} \
        == {name: list(reader.seeds) for name, reader in again.items()}


@pytest.mark.parametrize("name", ALL)
def test_corpus(name: str) -> None:
    """What once did harm does none; most of it is refused."""
    for data in corpus(name):
        read(ALL[name], data)


def test_corpus_is_tried() -> None:
    """Each directory is that of a reader, and not empty."""
    kept = {path.name for place in (CORPUS, REACHED) for path in place.iterdir()}
    assert kept <= {folder(name) for name in ALL}
    assert len({folder(name) for name in ALL}) == len(ALL)
    assert corpus("signer")


@pytest.mark.parametrize("name", remembered.files())
def test_what_is_remembered_is_read(name: str) -> None:
    """Of our own files a seed is understood, not passed over; and there is nothing in none."""
    assert all(ALL[name].read(seed) for seed in ALL[name].seeds)
    assert not ALL[name].read(b"")


NUMBERS = st.integers(0, 1 << 16)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(which=NUMBERS, changes=st.lists(st.tuples(st.integers(0, 4), NUMBERS, NUMBERS, NUMBERS),
                                       min_size=1, max_size=5))
def test_changed_seeds(name: str, which: int, changes: "list[tuple[int, int, int, int]]") -> None:
    reader = ALL[name]
    read(reader, changed(reader.seeds[which % len(reader.seeds)], changes))


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=10, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=300))
def test_anything(name: str, data: bytes) -> None:
    read(ALL[name], data)


@pytest.mark.parametrize("name", ALL)
def test_cut_off_anywhere(name: str) -> None:
    for seed in ALL[name].seeds:
        ends = range(len(seed))
        for end in ends if len(ends) < 60 else random.Random(1).sample(ends, 60):
            read(ALL[name], seed[:end])


def test_a_request_that_is_not_ascii() -> None:
    """What it would be, and that it is none, is said: found by ``make fuzz``."""
    header = {"alg": OWN.alg, "nonce": "n", "url": f"{CA}/new", "kid": f"{CA}/acct/1"}
    for payload in ({"csr": "AA\u066a"}, {"certificate": "\u066a"}):
        line = jose.signing_input(jsonfields.dump(header), jsonfields.dump(payload))
        verdict = policy.judge(line, OWN, [RULES])
        assert verdict.why and "cannot be understood" not in verdict.why, verdict.why
