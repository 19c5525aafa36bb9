"""The status command: what is installed, until when, and what the next run would do.

For people on a terminal, for people elsewhere, for programs (JSON, Prometheus), for monitoring.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.errors import UsageError
from ..report.standing import Limits, Overview
from ..settings import certificates
from ..settings.main import Config
from . import standing


class Options(NamedTuple):
    """The options of the status command."""

    sections: Sequence[str] = ()
    config_certs: Sequence[str] | None = None
    json: bool = False
    check: bool = False
    warning: str | None = None      # thresholds, as they were given
    critical: str | None = None
    metrics: str | None = None      # a file, - for standard output

    @property
    def forms(self) -> list[str]:
        """The options that say what is printed."""
        return [f"--{name}" for name in ("json", "check", "metrics") if getattr(self, name)]


def status(config: Config, options: Options) -> int:
    """Print how the sections stand, in the form that the options name, on standard output.

    Returns the exit status: 1 if a section cannot be, or nothing is known of it; with --check
    that of a monitoring plugin.  Raises UsageError.
    """
    limits = _limits(options)
    found = certificates.load(config, options.config_certs)
    if found.empty and not options.sections and not options.check:
        log.info(found.hint)
    is_all = not options.sections and options.config_certs is None
    overview = standing.overview(config, found, standing.Wanted(
        options.sections, options.json or bool(options.sections), is_all and not options.check))
    if options.check:
        from ..report import monitoring
        level, text = monitoring.result(overview, limits)
        print(text)
        return level
    if not overview.complete:
        log.info(f"{config.state_directory} cannot be read: what has failed, what waits and when "
                 "CAs would renew is not shown (you are not root: run it as root)")
    if options.metrics is not None:
        from .metrics import write
        write(overview, options.metrics)
    elif options.json:
        from ..report.document import document
        print(document(overview, limits))
    else:
        _show(overview, limits, bool(options.sections))
    return 1 if any(one.fault for one in overview.standings) else 0


def _limits(options: Options) -> Limits:
    """Return the thresholds; raises UsageError."""
    if len(options.forms) > 1:
        raise UsageError(f"status: {' and '.join(options.forms)} exclude each other")
    if options.warning is None and options.critical is None:
        return Limits()
    from ..report import monitoring
    found: list[float | None] = []
    for name, text in (("warning", options.warning), ("critical", options.critical)):
        try:
            found.append(monitoring.limit(text))
        except ValueError as exc:
            raise UsageError(f"status: --{name}: {exc}") from exc
    warning, critical = found
    if warning is not None and critical is not None and warning < critical:
        raise UsageError(f"status: --warning={options.warning} comes later than "
                         f"--critical={options.critical}: make it the greater one")
    return Limits(warning, critical)


def _show(overview: Overview, limits: Limits, detailed: bool) -> None:
    from ..report.terminal import terminal
    screen = terminal(1)
    if screen is None or not overview.standings:
        from ..report.listing import listing
        lines = listing(overview)
    else:
        from ..report.picture import Picture
        lines = Picture(overview, screen, limits, detailed).lines()
    for line in lines:
        print(line)
