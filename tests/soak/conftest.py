"""Our packages, built once for all tests that install them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import packages
from harness.run import PARENT

PACKAGES = ("letsencrypt-tiny", "letsencrypt-tiny-accountd")


@pytest.fixture(scope="session")
def debs() -> Iterator[list[Path]]:
    """The two binary packages of this tree."""
    with tempfile.TemporaryDirectory(prefix="letsencrypt-tiny-debs-", dir=PARENT) as directory:
        made = packages.build(Path(directory, "new"))
        assert {path.name.split("_")[0] for path in made} == set(PACKAGES), made
        yield made
