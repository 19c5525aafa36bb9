"""Metrics for node_exporter's textfile collector: written by status, and after each run."""

import os
import time

from ... import __version__
from ...common import log, trusted
from ...common.errors import Error
from ..report.metrics import Run, exposition
from ..report.standing import Overview
from ..settings.certificates import Certificates
from ..settings.main import Config
from ..store import files
from . import standing


def write(overview: Overview, path: str, run: Run | None = None) -> None:
    """Write a file that is at any moment the old one or the new one, or on standard output for
    ``-``.  Raises Error.

    Directories on the way may belong to one other user, such as the one who reads it: nothing in it
    is a secret, or believed by us.
    """
    text = exposition(overview, __version__, run)
    if path == "-":
        print(text, end="")
        return
    path = trusted.absolute(path)
    try:
        owner = _owner(os.path.dirname(path))
    except FileNotFoundError as exc:
        raise Error(f"{path}: there is no directory {exc.filename}: create it, or name another "
                    "file") from exc
    except OSError as exc:
        raise Error(f"{path}: cannot write it: {exc.strerror}") from exc
    files.install([files.File(path, text.encode("utf-8"))], durable=False, owner=owner)


def _owner(directory: str) -> int:
    """Return the one, besides root, to whom it and those above belong; 0 if there are none, or more
    than one.  Debian's /var/lib/prometheus is that user's, and what is below it root's."""
    owners = {os.stat(directory).st_uid}
    while directory != "/":
        directory = os.path.dirname(directory)
        owners.add(os.stat(directory).st_uid)
    owners.discard(0)
    return owners.pop() if len(owners) == 1 else 0


def after_run(config: Config, found: Certificates, began: float, exit_status: int) -> None:
    """Write what the setting metrics-file names; a failure is told, and is none of the run's."""
    try:
        overview = standing.overview(config, found, standing.Wanted(leftovers=True))
        write(overview, config.metrics_file, Run(began, time.time() - began, exit_status))
    except Error as exc:
        log.warning(f"metrics-file: {exc}")
