"""Why a validation failed, for who can't see it from where the CA looks (RFC 8555 §6.7, §8.3)."""

_REASONS = {
    "connection": "the CA cannot connect to port 80 of the addresses that the name has in public "
                  "DNS (A and AAAA records, firewalls and NAT decide that)",
    "dns": "the CA finds no address of the name in public DNS, or its name servers fail",
    "unauthorized": "what answers at port 80 of the name is not the challenge: another host has "
                    "the address, or a web server does not pass /.well-known/acme-challenge/ on",
    "caa": "a CAA record of the name, or of a domain above it, allows other CAs only",
}


def explained(message: str, kind: str | None, requests: int | None) -> str:
    """Return the message of a failed validation with a sentence on its ``kind``, an error type.

    ``requests``: how many for challenges have reached us in this run; None if another web server
    answers them.
    """
    reason = _REASONS.get(kind or "")
    if reason is None:
        return message
    reached = "" if requests is None else "; requests for challenges did reach us in this run" \
        if requests else "; no request for a challenge has reached us"
    return f"{message}; {reason}{reached}"
