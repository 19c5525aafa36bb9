"""acme2certifier, with SQLite, before a CA by openssl."""

import re
from collections.abc import Mapping
from pathlib import Path

from . import ca
from .pypi import PythonServer

_CONFIG = """
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {path}/intermediate.key
issuing_ca_cert: {path}/intermediate.pem
issuing_ca_crl: {path}/intermediate.crl
cert_validity_days: 90
cert_save_path: {path}/issued

[DBhandler]
handler_module: acme2certifier.dbhandlers.wsgi_handler
dbfile: {path}/acme_srv.db
"""


class ACME2Certifier(PythonServer):
    """See PythonServer.  It issues with the intermediate of ``ca``."""

    requirement = "acme2certifier~=0.46"
    name_server = "127.0.0.3"
    path_of_directory = "/directory"

    def prepare(self, path: Path, python: Path) -> Mapping[str, str]:
        (path / "issued").mkdir()
        (path / "acme_srv.cfg").write_text(_CONFIG.format(path=path))
        (path / "application.py").write_text(
            "from acme2certifier.share.acme2certifier_wsgi import application\n")
        return {"ACME_SRV_CONFIGFILE": str(path / "acme_srv.cfg")}

    def revoked(self, serial: str) -> bool:
        crl = self.path / "intermediate.crl"    # there is none before the first revocation
        text = ca.openssl("crl", "-in", str(crl), "-noout", "-text") if crl.exists() else b""
        return int(serial, 16) in [
            int(found, 16) for found in re.findall(rb"Serial Number: ([0-9A-F]+)", text)]
