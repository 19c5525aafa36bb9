"""What a problem says to an administrator (RFC 8555 §6.7), in a sentence."""

_SENTENCES = {
    "connection": "the CA cannot connect to port 80 of the addresses that the name has in public "
                  "DNS (A and AAAA records, firewalls and NAT decide that)",
    "dns": "the CA finds no address of the name in public DNS, or its name servers fail",
    "unauthorized": "what answers at port 80 of the name is not the challenge: another host has "
                    "the address, or a web server does not pass /.well-known/acme-challenge/ on",
    "rateLimited": "a limit of the CA is reached: the next runs wait as long as it says, there is "
                   "nothing to mend, and “newOrder --dry-run” is for trying",
    "caa": "a CAA record of the name, or of a domain above it, allows other CAs only",
}
_SENTENCES["incorrectResponse"] = _SENTENCES["unauthorized"]

# Challenges for which the CA connects to a host of the name (RFC 8555 §8.3, RFC 8737)
REACHED = frozenset(("http-01", "tls-alpn-01"))
# Types of those to which it matters whether a request reached us
REACHING = ("connection", "dns", "unauthorized", "incorrectResponse")


def sentence(kind: str | None) -> str:
    """Return the sentence for a problem's type, "" if there is none."""
    return _SENTENCES.get(kind or "", "")
