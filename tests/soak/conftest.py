"""Our packages, built once for all tests that install them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import packages
from harness.run import PARENT

PACKAGES = {"letsencrypt-tiny", "letsencrypt-tiny-accountd"}


@pytest.fixture(scope="session")
def debs() -> Iterator[list[Path]]:
    """The two binary packages of this tree."""
    with tempfile.TemporaryDirectory(prefix="letsencrypt-tiny-debs-", dir=PARENT) as directory:
        made = packages.build(Path(directory, "new"))
        assert {path.name.split("_")[0] for path in made} == PACKAGES
        yield made


@pytest.fixture(scope="session")
def old_deb() -> Iterator[Path]:
    """The package of version 1.0, which had all in one."""
    with tempfile.TemporaryDirectory(prefix="letsencrypt-tiny-debs-", dir=PARENT) as directory:
        try:
            tree = packages.before_the_split(Path(directory, "tree"))
        except LookupError as exc:
            pytest.skip(str(exc))
        made, = packages.build(Path(directory, "old"), tree)
        assert made.name == "letsencrypt-tiny_1.0_all.deb"
        yield made
