"""The status command: what is installed, until when, and what the next run would do."""

import json
from collections.abc import Sequence
from typing import Any

from ...common.errors import UsageError
from ..plan import renewal
from ..settings import certificates as certs
from ..settings.main import Config
from ..report.run import status_table
from ..store.installed import read_certificate
from ..store.journal import State


def status(config: Config, sections: Sequence[str], config_certs: Sequence[str] | None,
           as_json: bool) -> int:
    """Print a table, or with ``as_json`` a JSON array of objects, on standard output."""
    certificates = certs.load(config, config_certs)
    for name in sections:
        if name not in certificates:
            raise UsageError(f"there is no section [{name}] in the certificates' configuration")
    state = State(config.state_directory)
    rows: list[dict[str, Any]] = []
    for name in sections or certificates:
        certificate = certificates[name]
        verdict = renewal.is_due(config, certificate, state.section(name))
        row: dict[str, Any] = {
            "section": name, "due": verdict.due, "reason": verdict.reason,
            "names": [value for _, value in certificate.identifiers],
            "expires": None, "serial": None}
        if verdict.not_after is not None:
            row["expires"] = renewal.when(verdict.not_after)
            row["serial"] = read_certificate(certificate.outputs[0]).serial.hex()
        rows.append(row)
    if as_json:
        print(json.dumps(rows, indent=4))
    else:
        print(status_table([(row["section"], row["expires"] or "-",
                             f"due: {row['reason']}" if row["due"] else "valid",
                             " ".join(row["names"])) for row in rows]))
    return 0
