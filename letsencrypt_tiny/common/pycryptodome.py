"""Where pycryptodome is found, and what it may do; nobody else imports it.

To find libgmp it would execute file(1), ldconfig(8) and perhaps gcc(1), which takes 20 ms, and who
uses it is to execute nothing.  Without the library it does its sums itself.
"""

import importlib
from typing import Any

from .errors import Error

try:
    import Cryptodome as _pycryptodome  # its name in Debian
except ModuleNotFoundError:
    try:
        import Crypto as _pycryptodome  # type: ignore  # its name on PyPI
    except ModuleNotFoundError as exc:
        raise Error("pycryptodome is missing: install python3-pycryptodome") from exc


def module(name: str) -> Any:
    """Return a module of pycryptodome; loaded when needed, for all of them take 40 ms."""
    return importlib.import_module(f"{_pycryptodome.__name__}.{name}")


_raw_api = module("Util._raw_api")
if hasattr(_raw_api, "cached_architecture"):  # not where cffi is installed
    _raw_api.cached_architecture[:] = "", ""
    _raw_api.find_library = {"gmp": "libgmp.so.10"}.get
