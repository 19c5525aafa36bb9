"""What status tells Prometheus: the text format, as node_exporter's textfile collector reads it.

One pass over the sections, and the families one after the other, as the format wants it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ...common.log import printable
from ...common.x509.certificate import Certificate
from ...common.x509.distinguished import text
from .standing import Overview, Standing

_PREFIX = "letsencrypt_tiny_"

# name -> what it is; all are gauges, and what isn't known, or there isn't, has no sample
_OF_SECTIONS = {
    "certificate_not_after_timestamp_seconds": "When the installed certificate expires.",
    "certificate_not_before_timestamp_seconds": "From when on the installed certificate is valid.",
    "certificate_renewal_timestamp_seconds": "When the installed certificate is to be renewed.",
    "certificate_info": "The installed certificate; always 1.",
    "section_certificate_missing": "1 if no certificate is installed.",
    "section_due": "1 if a certificate is due.",
    "section_fault": "1 if the section cannot be read, or nothing is known of it.",
    "section_waits_until_timestamp_seconds": "Until when nothing is ordered for a section.",
    "section_failing_since_timestamp_seconds": "Since when what is tried for a section fails.",
    "section_failing_runs": "Runs in a row that have failed for a section.",
    "section_notification_pending": "1 if the notification of an installation is not delivered."}
_OF_ALL = {
    "sections": "Sections there are.",
    "leftovers": "Sections that are no more, of which files are left.",
    "state_readable": "1 if what is remembered could be read.",
    "status_timestamp_seconds": "When this was written.",
    "run_timestamp_seconds": "When the last run began.",
    "run_duration_seconds": "How long the last run took.",
    "run_exit_status": "Exit status of the last run.",
    "build_info": "The version; always 1."}


class Run(NamedTuple):
    """A run that has come to its end."""

    began: float       # Unix time
    seconds: float
    exit_status: int


def exposition(overview: Overview, version: str, run: Run | None = None) -> str:
    """Return the text; ``run`` is that after which it is written."""
    families: dict[str, list[str]] = {name: [] for name in _OF_SECTIONS}
    for standing in overview.standings:
        label = _labels({"section": standing.name})
        for name, value in _samples(standing):
            families[name].append(f"{_PREFIX}{name}{label} {value}\n")
        if standing.certificate is not None:
            families["certificate_info"].append(
                f"{_PREFIX}certificate_info{_labels(_info(standing, standing.certificate))} 1\n")
    parts: list[str] = []
    for name, lines in families.items():
        if lines:
            parts += [_head(name, _OF_SECTIONS[name]), *lines]
    for name, number in _totals(overview, run).items():
        parts += [_head(name, _OF_ALL[name]), f"{_PREFIX}{name} {number}\n"]
    parts += [_head("build_info", _OF_ALL["build_info"]),
              f"{_PREFIX}build_info{_labels({'version': version})} 1\n"]
    return "".join(parts)


def _samples(standing: Standing) -> Iterable[tuple[str, int]]:
    known = standing.certificate
    if known is not None:
        yield "certificate_not_after_timestamp_seconds", known.not_after
        yield "certificate_not_before_timestamp_seconds", known.not_before
    yield "section_fault", int(bool(standing.fault))
    if standing.moment is not None:
        yield "certificate_renewal_timestamp_seconds", standing.moment.at
    if not standing.fault:
        yield "section_certificate_missing", int(known is None)
        yield "section_due", int(standing.due)
        yield "section_notification_pending", int(standing.pending)
    if standing.waiting is not None:
        yield "section_waits_until_timestamp_seconds", standing.waiting.until
    if standing.trouble is not None:
        yield "section_failing_since_timestamp_seconds", standing.trouble.since
        yield "section_failing_runs", standing.trouble.runs


def _info(standing: Standing, known: Certificate) -> dict[str, str]:
    return {"section": standing.name, "name": standing.names[0] if standing.names else "",
            "ca": standing.ca, "issuer": text(known.issuer), "key_type": standing.key_type,
            "profile": standing.profile, "serial": known.serial.hex()}


def _totals(overview: Overview, run: Run | None) -> dict[str, float]:
    found: dict[str, float] = {
        "sections": len(overview.standings), "leftovers": len(overview.leftovers),
        "state_readable": int(overview.complete), "status_timestamp_seconds": int(overview.now)}
    if run is not None:
        found.update(run_timestamp_seconds=int(run.began),
                     run_duration_seconds=round(run.seconds, 3), run_exit_status=run.exit_status)
    return found


def _head(name: str, what: str) -> str:
    return f"# HELP {_PREFIX}{name} {what}\n# TYPE {_PREFIX}{name} gauge\n"


def _labels(values: Mapping[str, str]) -> str:
    """Return labels; an empty one is as good as none."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()
                          if value) + "}"


def _escaped(value: str) -> str:
    shown = printable(value, 500).encode("utf-8", "replace").decode("utf-8")
    return shown.replace("\\", r"\\").replace('"', r'\"')
