"""Which key a section's order is for, as far as what is installed and remembered says."""

from ..pki.csr import Want
from ..plan import renewal
from ..store import installed
from .life import Life


def wanted(life: Life) -> Want:
    """Return what its CSR is made for."""
    section, state = life.section, life.state
    try:
        certificate = installed.read(section).certificate
    except installed.Busy:   # there is one
        return Want(section, True, False, state.order_key or "" if state.kept else "")
    kept = state.order_key or "" if state.kept else ""
    if certificate is None:
        return Want(section, False, life.new_key, kept)
    return Want(section, True, life.new_key or renewal.other_key_type(
        section, certificate, state), kept, b"" if section.reuse_key else certificate.spki)
