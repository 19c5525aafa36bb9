"""Readers over a thousand renewals with a new key each: the installing code, files, fsync(2).

Whoever opens the directory of the short form once, or asks for its real path, meets one generation
always, unless he is KEEP renewals late (here these are milliseconds apart).  Whoever opens two
whole paths can meet the switch between; in the explicit form, the renames.  Nobody finds nothing,
or half a file.
"""

import os
import time
from pathlib import Path

import pytest

from harness import readings
from letsencrypt_tiny.master.store import keys
from letsencrypt_tiny.master.store.files import File
from letsencrypt_tiny.master.store.placing import Target

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

RENEWALS = 1000
KEEP = 100
OPENERS = (readings.directory_once, readings.real_path, readings.whole_paths)


def renew(target: Target, place: Path, generation: int) -> None:
    """Install a new key with its certificate."""
    text = readings.text(generation)
    target.install("a", [*keys.replacement(f"{place}/privkey.pem", text), *(
        File(f"{place}/{name}", text) for name in ("fullchain.pem", "cert.pem", "chain.pem"))],
        0, KEEP)


@pytest.mark.parametrize("form", ["certs/a", "tls"])
def test_readers(form: str, places: Path) -> None:
    place = places / form
    target = Target(f"{places}/state", f"{places}/certs")
    renew(target, place, 0)
    readers = {opener: readings.start(str(place), opener) for opener in OPENERS}
    begun = time.monotonic()
    try:
        for generation in range(1, RENEWALS + 1):
            renew(target, place, generation)
    finally:
        seen = {opener: reader.seen() for opener, reader in readers.items()}
    taken = time.monotonic() - begun
    print(f"\n{form}: {RENEWALS} renewals in {taken:.0f} s")
    for opener, found in seen.items():
        print(f"  {opener.__name__}: {sum(found.values())} readings, " + ", ".join(
            f"{found[kind]} {kind}" for kind in (readings.MISMATCH, readings.ABSENT,
                                                 readings.HALF)) +
              f"; {1000 * taken / RENEWALS * found[readings.MISMATCH] / sum(found.values()):.2f} "
              "ms a renewal")
        total = sum(found.values())
        assert total > RENEWALS and found[readings.GOOD] > total * 0.9
        assert found[readings.ABSENT] == found[readings.HALF] == 0
        if form.startswith("certs") and opener is not readings.whole_paths:
            assert found[readings.MISMATCH] == 0
    assert place.is_symlink() == form.startswith("certs")
