"""What a validation that failed says to an administrator (RFC 8555 §6.7), in a sentence."""

_SENTENCES = {
    "connection": "the CA could not connect: port 80 of every address of the name, A and AAAA, "
                  "must lead here",
    "dns": "the CA could not look the name up: see its A and AAAA records, and its DNSSEC",
    "unauthorized": "the CA got another answer than ours: the name leads to another host or web "
                    "server as well, or something on the way changes it",
    "caa": "the CAA records of the name or of a domain above it let other CAs issue only",
}
_SENTENCES["incorrectResponse"] = _SENTENCES["unauthorized"]

# Types of those to which it matters whether a request reached us
REACHING = ("connection", "dns", "unauthorized", "incorrectResponse")


def sentence(kind: str | None) -> str:
    """Return the sentence for a problem's type, "" if there is none."""
    return _SENTENCES.get(kind or "", "")
