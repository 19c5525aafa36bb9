"""A CA with several chains for a certificate: cross-signs, alternates, and odd ways to name them.

>>> made = Authorities(path)    # lower < upper < one; upper is signed by "two" and "three", too
>>> made.serve(hostile, "lower upper", "lower two", link="split")
"""

from collections.abc import Callable
from pathlib import Path

from . import ca
from .hostile import Default, Hostile, Request, Response

_EXTENSIONS = ("basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n"
               "authorityKeyIdentifier=keyid\n")

# How a server may name its alternates: URLs -> Link fields, and a path stands for the base
LINKS: dict[str, Callable[[list[str], str], list[str]]] = {
    "plain": lambda urls, _: [", ".join(f'<{url}>;rel="alternate"' for url in urls)],
    "fields": lambda urls, _: [f'<{url}>;rel="alternate"' for url in urls],
    "bare": lambda urls, _: [f"<{url}>;rel=alternate" for url in urls],
    "spaces": lambda urls, _: [f'  < {url} >  ;  REL = "up  Alternate"  ;; ,' for url in urls],
    "quoted": lambda urls, _: [f'<{url}>; title="a, \\"<b>; rel=up"; rel="alternate"; rel="up"'
                               for url in urls],
    "relative": lambda urls, base: [f'<{url.removeprefix(base)}>;rel="alternate"' for url in urls],
    "repeated": lambda urls, _: [", ".join(f'<{url}>;rel="alternate"' for url in urls * 20)],
    "junk": lambda urls, _: ['<>;rel="alternate", <<>, "x", ;;rel=alternate, <x y>;rel=alternate',
                             *(f'<{url}>;rel="alternate"' for url in urls)],
    "others": lambda urls, base: [
        f'<https://other.example/1>;rel="alternate", <http://127.0.0.1/>;rel="alternate", '
        f'<{base}/nowhere>;rel="alternate"', *(f'<{url}>;rel="alternate"' for url in urls)],
}


class Authorities:
    """Certificates of CAs, in ``path``: NAME.pem and NAME.key.

    ``lower`` issues; ``upper`` signed it and is signed by the root ``one``; ``two`` and ``three``
    are upper by the roots ``root-two`` and ``root-three``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for root in "one", "root-two", "root-three":
            self._sign(root, root, f"Root {root.removeprefix('root-').capitalize()}")
        self._sign("upper", "one", "Upper")
        self._sign("two", "root-two", "Upper", "upper")
        self._sign("three", "root-three", "Upper", "upper")
        self._sign("lower", "upper", "Lower")

    def _sign(self, name: str, issuer: str, subject: str, key: str = "") -> None:
        key_file = self.path / f"{key or name}.key"
        if not key_file.exists():
            key_file.write_text(ca.genkey())
        (self.path / "extensions").write_text(_EXTENSIONS)
        csr = ca.openssl("req", "-new", "-config", "/dev/null", "-key", str(key_file),
                         "-subj", f"/CN={subject}")
        by = ["-signkey", str(key_file)] if issuer == name else [
            "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"]
        (self.path / f"{name}.pem").write_bytes(ca.openssl(
            "x509", "-req", *by, "-days", "99", "-extfile", "extensions", stdin=csr,
            cwd=self.path))

    def pem(self, words: str) -> str:
        """Return the certificates with these names."""
        return "".join((self.path / f"{word}.pem").read_text() for word in words.split())

    def bundle(self, words: str) -> Path:
        """Return a file of them."""
        path = self.path / f"bundle-{words.replace(' ', '-')}.pem"
        path.write_text(self.pem(words))
        return path

    def issue(self, csr: str) -> str:
        """Return a certificate by ``lower``."""
        (self.path / "leaf").write_text("authorityKeyIdentifier=keyid\n")
        return ca.openssl("x509", "-req", "-CA", "lower.pem", "-CAkey", "lower.key", "-days", "90",
                          "-copy_extensions", "copy", "-extfile", "leaf", stdin=csr.encode(),
                          cwd=self.path).decode()

    def serve(self, server: Hostile, default: str, *others: str, link: str = "plain",
              leaf: str = "") -> None:
        """Let a server issue with the chain ``default``, and offer ``others`` beside it; each is
        words as above.  ``leaf`` (PEM) begins the others instead of the certificate."""
        issued: dict[str, str] = {}

        def issuer(csr: str, _names: list[str]) -> str:
            issued["leaf"] = self.issue(csr)
            return issued["leaf"] + self.pem(default)

        def certificate(request: Request, usual: Default) -> Response:
            number, _, alternate = request.id.partition("-")
            if alternate:
                server.default(request._replace(id=number))     # the nonce
                text = (leaf or issued["leaf"]) + self.pem(others[int(alternate) - 1])
                return Response(200, {"Content-Type": "application/pem-certificate-chain"},
                                text.encode())
            urls = [server.url(f"certificate/{number}-{index}")
                    for index in range(1, len(others) + 1)]
            response = usual()
            headers = dict(response.headers)
            for index, field in enumerate(LINKS[link](urls, server.base)):
                # a field each, by another spelling of its name
                headers["".join(letter.upper() if index >> bit & 1 else letter
                                for bit, letter in enumerate("link"))] = field
            return response._replace(headers=headers)
        server.issuer = issuer
        server.on["certificate"] = certificate
