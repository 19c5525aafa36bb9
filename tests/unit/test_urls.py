"""https URLs and proxies: one grammar, and every judge of one in the tree agrees with it.

Where a judge is stricter, because it wants an origin only or the one canonical form of a URL,
that is a column of the table.
"""

from pathlib import Path

import pytest

from letsencrypt_tiny.client import transport
from letsencrypt_tiny.common import urls
from letsencrypt_tiny.common.errors import ConfigError, Error, ProtocolError
from letsencrypt_tiny.common.wire.policy import OPERATIONS, Policy, origin_of
from letsencrypt_tiny.master.settings import main as settings
from letsencrypt_tiny.signer.policy import origin_within
from letsencrypt_tiny.signer.request import is_https_url

CA = "https://ca.example"
LABEL = "a" * 63

# URL, its origin, and whether a policy for that origin allows it: only the canonical form of a
# URL with a path that has no other reading
GOOD = [
    ("https://ca.example/dir", CA, True),
    ("https://ca.example/", CA, True),
    ("https://ca.example/acme/new-order/1_2~3.x", CA, True),
    ("https://ca.example/a;b=c,d:e@f!$&'()*+=", CA, True),
    ("https://ca.example:14000/dir", CA + ":14000", True),
    ("https://ca.example:1/", CA + ":1", True),
    ("https://ca.example:65535/", CA + ":65535", True),
    ("https://localhost/dir", "https://localhost", True),
    ("https://ca_1.example/d", "https://ca_1.example", True),
    ("https://_ca.example/d", "https://_ca.example", True),
    ("https://xn--bcher-kva.example/d", "https://xn--bcher-kva.example", True),
    ("https://1.example/d", "https://1.example", True),
    ("https://0x7f.example/d", "https://0x7f.example", True),
    (f"https://{LABEL}.example/d", f"https://{LABEL}.example", True),
    ("https://127.0.0.1:14000/dir", "https://127.0.0.1:14000", True),
    ("https://255.255.255.255/", "https://255.255.255.255", True),
    ("https://[::1]/d", "https://[::1]", True),
    ("https://[2001:db8::1]:444/d", "https://[2001:db8::1]:444", True),
    ("https://[::ffff:192.0.2.1]/d", "https://[::ffff:192.0.2.1]", True),
    ("https://ca.example/" + "a" * (urls.MAX_URL - 19), CA, True),
    # another spelling of the same: normalized
    ("https://ca.example", CA, False),
    ("HTTPS://ca.example/d", CA, False),
    ("https://CA.Example/d", CA, False),
    ("https://ca.example:443/d", CA, False),
    ("https://ca.example:0443/d", CA, False),
    ("https://ca.example:00443", CA, False),
    ("https://ca.example:/d", CA, False),
    ("https://ca.example:08443/d", CA + ":8443", False),
    ("https://[2001:DB8::1]/d", "https://[2001:db8::1]", False),
    ("https://[2001:db8:0:0:0:0:0:1]/d", "https://[2001:db8::1]", False),
    ("https://[0:0:0:0:0:0:0:1]:443/d", "https://[::1]", False),
    ("https://[::ffff:c000:201]/d", "https://[::ffff:192.0.2.1]", False),
    # a path or query that servers may read in several ways
    ("https://ca.example?q", CA, False),
    ("https://ca.example/?", CA, False),
    ("https://ca.example/d?q=1&r=/2?", CA, False),
    ("https://ca.example/%2F", CA, False),
    ("https://ca.example/a%2f..%2Fb", CA, False),
    ("https://ca.example//", CA, False),
    ("https://ca.example/a//b", CA, False),
    ("https://ca.example/./a", CA, False),
    ("https://ca.example/a/../b", CA, False),
    ("https://ca.example/..;/a", CA, False),
    ("https://ca.example/a[b]", CA, False),
    ("https://ca.example//evil.example/", CA, False),
    ("https://ca.example/@evil.example", CA, True),
]

BAD = [
    "http://ca.example/d", "ftp://ca.example/d", "javascript:alert(1)", "file:///etc/passwd",
    "//ca.example/d", "ca.example/d", "/d", "https:/ca.example/d", "https:ca.example/d",
    "https//ca.example", "https://", "https:///d", "https://?q", " https://ca.example/d",
    "https://ca.example /d", "https://ca.example/a b", "https://ca.example/a\tb",
    "https://ca.example/a\nb", "https://ca.example/d\n", "https://ca.example\n/d",
    "https://ca\t.example/d", "https://ca.example/d\r\nHost: evil", "https://ca.example/\0",
    "\u00a0https://ca.example/d", "https://ca.example/d\u2028",
    "http\u017f://ca.example/d",    # a long s, of which upper() makes an S
    # ports
    "https://ca.example:0/d", "https://ca.example:00000/d", "https://ca.example:65536/d",
    "https://ca.example:99999/d", "https://ca.example:000443/d", "https://ca.example:-1/d",
    "https://ca.example:+443/d", "https://ca.example:x/d", "https://ca.example:443:443/d",
    "https://ca.example:4\u0664\u0663/d", "https://ca.example: 443/d", "https://:443/d",
    # hosts
    "https://ca.example./d", "https://ca.example.:443/dir", "https://./d", "https://ca..example/d",
    "https://.ca.example/d", "https://-ca.example/d", "https://ca-.example/d", "https://-/d",
    "https://*.example/d", "https://ca,example/d", "https://ca%2eexample/d", "https://ca.ex'mple/",
    f"https://a{LABEL}.example/d", "https://" + "a." * 126 + "ab/", "https://ca.example\\/d",
    "https://ca.example\\@evil.example/d", "https://evil.example\\.ca.example/",
    "https://b\u00fccher.example/d", "https://ca\u3002example/d", "https://\u212a.example/d",
    "https://\uff43a.example/d", "https://ca\u00ad.example/d", "https://\u017fa.example/d",
    # addresses
    "https://127.1/d", "https://2130706433/d", "https://1.2.3/d", "https://1.2.3.4.5/d",
    "https://1.2.3.256/d", "https://127.0.0.01/d", "https://0177.0.0.1/d", "https://0x7f000001/d",
    "https://0x7f.0.0.0x1/d", "https://127.0.0.0x1/d", "https://0x/d", "https://ca.example.1/d",
    "https://999999999999/d", "https://\u0661.2.3.4/d", "https://1.2.3.\u0664/d",
    "https://::1/d", "https://2001:db8::1/d", "https://[::1/d", "https://::1]/d", "https://[]/d",
    "https://[::g]/d", "https://[1::2::3]/d", "https://[fe80::1%eth0]/d",
    "https://[fe80::1%25eth0]/d", "https://[::1]x/d", "https://[::1]:x/d", "https://[[::1]]/d",
    "https://[127.0.0.1]/d", "https://[v1.a]/d", "https://[::127.1]/d", "https://[ca.example]/d",
    # user, fragment
    "https://u@ca.example/d", "https://u:p@ca.example/d", "https://@ca.example/d",
    "https://ca.example@evil.example/d", "https://u%40ca.example/", "https://ca.example:443@evil/d",
    "https://ca.example/d#f", "https://ca.example#f", "https://ca.example/d#",
    "https://ca.example?q#f", "https://evil.example#@ca.example/d",
    # targets
    "https://ca.example/%", "https://ca.example/%zz", "https://ca.example/%2",
    "https://ca.example/\\", "https://ca.example/a\\..\\b", "https://ca.example/\u00e9",
    "https://ca.example/<a>", 'https://ca.example/"', "https://ca.example/{a}",
    "https://ca.example/a|b", "https://ca.example/^", "https://ca.example/`",
    "https://ca.example/?q=%g0", "https://ca.example/?\x7f", "https://ca.example/\ud800",
    "https://ca.example/" + "a" * (urls.MAX_URL - 18), "https://ca.example/" + "a" * 100_000,
]


def policy_for(origin: str) -> Policy:
    """A policy that allows all there is at one origin."""
    return Policy("all", frozenset([origin]), frozenset(OPERATIONS), frozenset("*"))


def load(tmp_path: Path, setting: str, text: str) -> settings.Config:
    """Load a configuration with one setting in [client]."""
    path = tmp_path / "main.conf"
    path.write_text(f"[client]\n{setting} = {text}\n", "utf-8", "surrogatepass")
    return settings.load(str(path))


def short(text: object) -> str:
    """Name a case of the tables."""
    return ascii(text)[:60]


def is_origin(text: str) -> bool:
    """True if the setting “origins” takes it."""
    try:
        return bool(urls.parse_origin(text))
    except ValueError:
        return False


@pytest.mark.parametrize("text, origin, canonical", GOOD, ids=short)
def test_every_judge_takes_it(tmp_path: Path, text: str, origin: str, canonical: bool) -> None:
    url = urls.parse(text)
    assert url.origin == origin
    # signer: what is signed at all; the policies of the master and of the administrator
    assert is_https_url(text)
    assert origin_of(text) == origin == urls.parse_origin(origin)
    assert is_origin(text) == (url.target == "/")   # the setting “origins”
    assert origin_within(policy_for(origin), text) == (origin if canonical else "")
    assert origin_within(policy_for(origin)._replace(urls="any"), text) == origin
    # client
    parsed = transport.parse_url(text, "the URL")
    assert (parsed.host, parsed.port, parsed.target) == url[:3]
    # master
    load(tmp_path, "server", text)


@pytest.mark.parametrize("text", BAD, ids=short)
def test_every_judge_refuses_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        urls.parse(text)
    assert str(caught.value).isprintable() and text not in str(caught.value)
    assert not is_https_url(text)
    assert not is_origin(text)
    with pytest.raises(ProtocolError):
        origin_of(text)
    seeming = text[:text.find("/", len("https://"))]
    for origin in CA, "https://evil.example", seeming if is_origin(seeming) else CA:
        assert not origin_within(policy_for(origin), text)
        assert not origin_within(policy_for(origin)._replace(urls="any"), text)
    with pytest.raises(ProtocolError, match="the URL"):
        transport.parse_url(text, "the URL")
    if text == text.strip():   # white space around a setting is no part of it
        with pytest.raises(ConfigError, match="main.conf"):
            load(tmp_path, "server", text)


@pytest.mark.parametrize("text, why", [
    ("https://u@ca.example/", "user name"), ("https://ca.example/#f", "fragment"),
    ("http://ca.example/", "not an https URL"), ("https://ca.example/a b", "RFC 3986"),
    ("https:///", "no host"), ("https://ca.example:0/", "port"), ("https://1.2.3/", "IPv4"),
    ("https://[::g]/", "IPv6"), ("https://a..b/", "host name"),
    ("https://a/" + "a" * 2048, "2048")])
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        urls.parse(text)


@pytest.mark.parametrize("text, target", [
    ("https://a", "/"), ("https://a/", "/"), ("https://a?q", "/?q"), ("https://a?", "/?"),
    ("https://a//b/../c;d?e=%2F&f", "//b/../c;d?e=%2F&f"), ("https://a/%7e", "/%7e")])
def test_targets_are_kept_as_they_are(text: str, target: str) -> None:
    """A server may tell apart what only looks equivalent (RFC 3986 §6.2.2)."""
    assert urls.parse(text).target == target


@pytest.mark.parametrize("text, authority", [
    ("https://CA.example:443/", "ca.example"), ("https://ca.example:80", "ca.example:80"),
    ("https://[::1]", "[::1]"), ("https://[::1]:8443", "[::1]:8443")])
def test_authority(text: str, authority: str) -> None:
    assert urls.parse(text).authority == authority


# setting: host, port, user and password
PROXIES = [
    ("http://p:3128", ("p", 3128, "")), ("http://p:3128/", ("p", 3128, "")),
    ("p:3128", ("p", 3128, "")), ("p", ("p", 80, "")), ("http://p", ("p", 80, "")),
    ("http://p:/", ("p", 80, "")), ("HTTP://Proxy.Example:80", ("proxy.example", 80, "")),
    ("http://[2001:DB8::1]:8080", ("2001:db8::1", 8080, "")), ("[::1]:1", ("::1", 1, "")),
    ("http://192.0.2.1:65535", ("192.0.2.1", 65535, "")),
    ("http://u:p%40ss@p:1", ("p", 1, "u:p%40ss")), ("http://u@p", ("p", 80, "u")),
    ("http://u:a:b?c#d@p:1", ("p", 1, "u:a:b?c#d")), ("u:secret@p:1", ("p", 1, "u:secret")),
    ("http://@p:1", ("p", 1, "")), ("http://my_proxy:1", ("my_proxy", 1, "")),
]
BAD_PROXIES = [
    "https://p:1", "socks5://p:1", "socks5h://u:secret@p:1", "//p:1", "http:p:1", "http://",
    "http://:3128", "http://p:0", "http://p:65536", "http://p:x", "http://p:1:2", "http://p-:1",
    "http://-p:1", "http://p.:1", "http://p..q:1", "http://p:1/path", "http://p:1//", "http://p?q",
    "http://p:1#f", "http://u:sec/ret@p:1", "http://u@secret@p:1", "http://u:secret@",
    "http://p q:1", "http://u:sec ret@p:1", "http://u:s\u00e9cret@p:1", "http://b\u00fccher:1",
    "http://\u212a:1", "http://127.1:1", "http://0x7f000001:1", "http://[::1:1",
    "http://[fe80::1%lo]:1", "http://::1:1", "http://p\\q:1", "http://*:1",
    "http://p:" + "0" * 2048 + "1", "http://" + "u" * 2048 + "@p:1",
]


@pytest.mark.parametrize("text, proxy", PROXIES, ids=short)
def test_proxies(tmp_path: Path, text: str, proxy: tuple[str, int, str]) -> None:
    assert urls.parse_proxy(text) == proxy
    found = transport.parse_proxy(text)
    assert (found.host, found.port) == proxy[:2]
    load(tmp_path, "proxy", text)


@pytest.mark.parametrize("text", BAD_PROXIES, ids=short)
def test_bad_proxies(tmp_path: Path, text: str) -> None:
    """They are refused by all, in words that have no password."""
    with pytest.raises(ValueError) as wrong:
        urls.parse_proxy(text)
    with pytest.raises(ConfigError) as client:
        transport.parse_proxy(text)
    with pytest.raises(ConfigError, match="proxy") as master:
        load(tmp_path, "proxy", text)
    for caught in wrong, client, master:
        assert "secret" not in str(caught.value) and "s\u00e9cret" not in str(caught.value)


def test_a_proxy_of_the_environment(tmp_path: Path) -> None:
    """The client finds it there by the same rules (RFC 9110 §7.3.2)."""
    url = transport.parse_url("https://ca.example/d", "the URL")
    found = transport.find_proxy("", url, {"https_proxy": "P.example:3128"})
    assert found is not None and (found.host, found.port) == ("p.example", 3128)
    with pytest.raises(Error):
        transport.find_proxy("", url, {"https_proxy": "http://p-:1"})
