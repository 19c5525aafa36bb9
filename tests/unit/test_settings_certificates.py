"""The certificates' configuration: both forms, inheritance, and an injection corpus."""

import os
import re
import tempfile
from pathlib import Path
from collections.abc import Iterator

import pytest

from letsencrypt_tiny.common.errors import ConfigError
from letsencrypt_tiny.master.pki import openssl
from letsencrypt_tiny.master.settings import certificates as certs, main as config
from letsencrypt_tiny.master.settings.certificates import (SECTION, Certificates, Section,
                                                           SectionError)
from letsencrypt_tiny.master.settings.identifiers import parse_identifier

TREE = Path(__file__).resolve().parents[2]


class Files:
    """A configuration directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("main.conf", "library-directory = /lib/x\n")

    def write(self, name: str, text: str) -> None:
        """Write a file of it."""
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_text(text)

    def all(self, *names: str) -> Certificates:
        """Load the certificates, and what is wrong with them."""
        return certs.load(config.load(str(self.path / "main.conf")), names or None)

    def load(self, text: str = "", *names: str) -> dict[str, Section]:
        """Load the certificates of certs.conf, written if there's a text, or of other files.

        Raises what is wrong with the first that can't be.
        """
        if text:
            self.write("certs.conf", text)
        found = self.all(*names)
        for fault in found.faults.values():
            raise fault
        return found.sections

    def one(self, text: str, section: str = "a") -> Section:
        """Load the only section, with this text and a name if the text has none."""
        if "names" not in text:
            text += "\nnames = x.example"
        found = self.load(f"[{section}]\n{text}\n")
        assert list(found) == [section]
        return found[section]

    def fault(self, text: str, section: str = "a") -> str:
        """Return the message for a section, which must name file and section."""
        with pytest.raises(SectionError) as caught:
            self.one(text, section)
        assert caught.value.exit_status == 1
        message = str(caught.value)
        assert message.startswith(f"{self.path}/certs.conf, [{section}]: ")
        return message.partition("]: ")[2]


@pytest.fixture
def files() -> Iterator[Files]:
    """A configuration directory."""
    with tempfile.TemporaryDirectory() as directory:
        yield Files(Path(directory))


def test_short_form(files: Files) -> None:
    own = "/lib/x/certs/example.org"
    found = files.load("[example.org]\nnames = Example.org, www.example.org\n")["example.org"]
    assert found == Section(
        name="example.org", source=f"{files.path}/certs.conf",
        identifiers=(("dns", "example.org"), ("dns", "www.example.org")), key=f"{own}/privkey.pem",
        certificate=f"{own}/cert.pem", chain=f"{own}/chain.pem", fullchain=f"{own}/fullchain.pem",
        subject=(), key_type="ec:P-256", min_days=None,
        ca_file="/etc/ssl/certs/ca-certificates.crt", hash="", key_usage=(), tls_feature=(),
        owner=None, mode=0o644, notify="", reuse_key=None)
    assert found.outputs == [f"{own}/fullchain.pem", f"{own}/cert.pem", f"{own}/chain.pem"]


def test_explicit_form(files: Files) -> None:
    found = files.one("""
certificate = /c/cert.pem
certificate-chain = /c/full.pem
certificate-key = /c/key.pem
subject = /C=DE/organizationName=Ü & Co. (1)/CN=X.example
subjectAltName = DNS:x.example, DNS:y.example,IP:192.0.2.1 , IP:2001:DB8:0::1
key-type = rsa:3072
min-days = -1
CAfile =
hash = SHA512
keyUsage = critical, digitalSignature,keyEncipherment
tlsfeature = status_request
owner = nobody:nogroup
mode = 640
notify = systemctl reload 'nginx' && true # or not
""")
    assert found.identifiers == (("dns", "x.example"), ("dns", "y.example"), ("ip", "192.0.2.1"),
                                 ("ip", "2001:db8::1"))
    assert found.outputs == ["/c/full.pem", "/c/cert.pem"] and found.key == "/c/key.pem"
    assert found.subject == (("C", "DE"), ("O", "Ü & Co. (1)"), ("CN", "X.example"))
    assert (found.key_type, found.min_days, found.ca_file, found.hash) == \
        ("rsa:3072", -1, "", "sha512")
    assert found.key_usage == ("digitalSignature", "keyEncipherment")
    assert found.tls_feature == ("status_request",) and found.mode == 0o640
    assert found.owner is not None and found.owner[0] == 65534
    assert found.notify == "systemctl reload 'nginx' && true # or not"


@pytest.mark.parametrize("text, reused", [
    ("", None), ("reuse-key = yes", True), ("reuse-key = no", False), ("next-key = yes", False),
    ("certificate-key = /k", True), ("certificate-key = /k\nreuse-key = no", False),
    ("certificate-key = /k\nnext-key = yes", False)])
def test_whether_a_key_stays(text: str, reused: bool | None, files: Files) -> None:
    assert files.one(f"names = a.example\n{text}").reuse_key is reused


def test_mixtures(files: Files) -> None:
    own = "/lib/x/certs/a"
    found = files.one("certificate-chain = /c.pem")
    assert found.key == f"{own}/privkey.pem" and found.outputs == ["/c.pem"]
    found = files.one("certificate-key = /k.pem")
    assert found.key == "/k.pem" and found.outputs[0] == f"{own}/fullchain.pem"
    found = files.one("names = b.example a.example\tb.example,B.EXAMPLE\nsubject = /CN=c.example\n"
                      "subjectAltName = DNS:a.example")
    assert [name for _, name in found.identifiers] == ["c.example", "b.example", "a.example"]


def test_all_files_and_inheritance(files: Files) -> None:
    files.write("certs.conf", "mode = 600\nowner = nobody\nhash = sha384\n[a]\nnames = a.example\n"
                "[b]\nnames = b.example\nmode = 644\n[c]\nnames = c.example\nnotify = first\n")
    files.write("certs.conf.d/20.conf", "hash = sha512\n[d]\nnames = d.example\n")
    files.write("certs.conf.d/10.conf", "[c]\nnames = c2.example\nchown = daemon\nchmod = 400\n")
    files.write("certs.conf.d/30.conf.dpkg-old", "[e]\nnonsense")
    found = files.load()
    assert list(found) == ["a", "b", "c", "d"]
    assert [found[s].mode for s in "abcd"] == [0o600, 0o644, 0o400, 0o600]
    assert [found[s].hash for s in "abcd"] == ["sha384"] * 3 + ["sha512"]
    assert [(found[s].owner or (None,))[0] for s in "abcd"] == [65534, 65534, 1, 65534]
    # a later section replaces an earlier one, it isn't mixed with it
    assert found["c"].identifiers == (("dns", "c2.example"),) and found["c"].notify == ""
    assert found["c"].where == f"{files.path}/certs.conf.d/10.conf, [c]"


def test_defaults_are_read_where_they_stand(files: Files) -> None:
    """Once, whatever the number of sections they are for."""
    for line in ("mode = 666", "names = a_b", "owner = no-such-user"):
        files.write("certs.conf", f"{line}\n[a]\nnames = a.example\nmode = 644\nowner =\n")
        with pytest.raises(ConfigError, match=re.escape(f"{files.path}/certs.conf: {line}: ")):
            files.load()
    found = files.load("names = x.example\nsubject = /CN=y.example\nCAfile =\nmode = 600\n"
                       "[a]\nsubjectAltName = DNS:z.example\nmode =\n[b]\nnames =\nsubject = /\n"
                       "subjectAltName = DNS:b.example\nCAfile = /ca\n")
    names = [[name for _, name in found[section].identifiers] for section in "ab"]
    assert names == [["y.example", "x.example", "z.example"], ["b.example"]]
    assert [found[section].ca_file for section in "ab"] == ["", "/ca"]
    # an empty value is the default, and not what was inherited
    assert [found[section].mode for section in "ab"] == [0o644, 0o600]


def test_the_issuer_is_that_of_client(files: Files) -> None:
    assert files.one("").issuer == ""


def test_default_files_may_be_missing_others_not(files: Files) -> None:
    assert files.load() == {}
    for name in ("x.conf", "x.d/", f"{files.path}/x"):
        with pytest.raises(ConfigError, match=re.escape(name)):
            files.load("", name)
        files.write("main.conf", f"config-certs = {name}")
        with pytest.raises(ConfigError, match=re.escape(name)):
            files.load()
        files.write("main.conf", "")


def test_which_files_are_read(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(files.path))
    files.write("a.conf", "[a]\nnames = a.example")
    files.write("d/b.conf", "[b]\nnames = b.example")
    files.write("d/c", "[c]\nnames = c.example")
    assert list(files.load("", "%T/d", "a.conf")) == ["b", "a"], "a directory without a slash too"
    assert list(files.load("", "d/c")) == ["c"], "any suffix, if it is named"
    files.write("main.conf", "config-certs = d/ %T/a.conf")
    assert list(files.load()) == ["b", "a"]
    assert list(files.load("", "a.conf")) == ["a"], "the option beats the setting"
    with pytest.raises(ConfigError, match="%x is not a specifier"):
        files.load("", "%x/a.conf")


def test_our_own_file(files: Files) -> None:
    text = (TREE / "config/certs.conf").read_text()
    files.write("certs.conf", text)
    assert files.load() == {}
    examples, defaults = (re.sub(r"^#(?=[A-Za-z-]+ =|\[)", "", part, flags=re.M)
                          for part in text.split("\n# What stands before", 1))
    files.write("certs.conf", examples.replace("root:postfix", "root:root"))
    assert list(files.load()) == ["example.org", "smtp"]
    # what is shown as the default is the default
    plain = files.load("\n" * (defaults.count("\n") + 1) + "[a]\nnames = a.example")
    assert files.load(f"# {defaults}\n[a]\nnames = a.example") == plain


@pytest.mark.parametrize("text, expected", [
    ("a.example", ("dns", "a.example")), ("A.Example", ("dns", "a.example")),
    ("xn--bcher-kva.example", ("dns", "xn--bcher-kva.example")), ("1.2.3.a", ("dns", "1.2.3.a")),
    ("1a.2b", ("dns", "1a.2b")), ("a--b.c", ("dns", "a--b.c")),
    (f"{'a' * 63}.example", ("dns", f"{'a' * 63}.example")),
    (f"{('a' * 49 + '.') * 5}abc", ("dns", f"{('a' * 49 + '.') * 5}abc")),
    ("192.0.2.1", ("ip", "192.0.2.1")), ("::1", ("ip", "::1")), ("::", ("ip", "::")),
    ("2001:0DB8:0:0:0:0:0:00A1", ("ip", "2001:db8::a1")),
    ("2001:db8:1:0:0:2:0:0", ("ip", "2001:db8:1::2:0:0"))])
def test_identifiers(text: str, expected: "tuple[str, str]") -> None:
    assert parse_identifier(text) == expected


# What must get to no command line, as a name
BAD_NAMES = [
    "a", "localhost", "a..b", ".a.b", "a.b.", "-a.b", "a-.b", "a.-b", "a.b-", "a_b.c", "_acme.b.c",
    "*", "*.", "a.*.b", "☃.example", "ä_b.example", "-ä.example", "１.2.3.4", "a.b:80",
    f"{'a' * 64}.b", f"{('a' * 49 + '.') * 5}abcd", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.04",
    "0x7f.1", "1", "127.1", "[::1]", "[::1]:80", "1.2.3.4/24", "1.2.3.4:80", ":::", "1::2::3",
    "12345::", "::g", "fe80::1%eth0", "fe80::1%$ENV::HOME", "::1%", "::1%25x", "::1%@sect",
    "http://a.b/", "a.b/c", "a@b.c", "a.b$ENV::HOME", "$ENV::HOME.b", "${ENV::HOME}.b", "@sect.b",
    "a.b#", "a.b;c", "a.b\\", "a.b=c", "a.b|c", "a.b`id`", "$(id).b", "'a.b'", '"a.b"', "a.b+",
    "a&b.c", "DNS:a.b", "IP:1.2.3.4", "email:a@b", "dirName:x", "-a", "--a.b", "-config.x",
    "%s.b", "a.b%n",
    "a.b\\,DNS:c.d", "a.b\\nx", "a.b~", "a.b!", "a?.b", "(a).b", "{a}.b", "a.b<", "a.b>"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_refused(files: Files, name: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_identifier(name)
    assert f"“{name}”" in str(caught.value)
    assert files.fault(f"names = ok.example, {name}").startswith("names = ok.example, ")
    if " " not in name and "," not in name:
        assert files.fault(f"subjectAltName = DNS:ok.example,DNS:{name}").startswith("subjectAlt")
    files.fault(f"subject = /CN={name}")


@pytest.mark.parametrize("name", ["a\n.b", "a.b\n", "a.b\r", "a\0.b", "a.b\x1b", "a .b", "", " ",
                                  "a,b.c", "a.b\u2028", "::1\n", "1.2.3.4\n", "\ta.b"])
def test_names_with_white_space_cannot_be_configured_but_are_refused_too(name: str) -> None:
    with pytest.raises(ValueError):
        parse_identifier(name)


# setting, value: nothing of this may load
BAD_VALUES = [
    ("subject", "CN=a.example"), ("subject", "/CN=a.example\\nx"), ("subject", "/O=$ENV::HOME"),
    ("subject", "/O=${x}"), ("subject", "/O=a\\/CN=b"), ("subject", "/O=a=b"), ("subject", "/O="),
    ("subject", "/O=" + "x" * 65), ("subject", "/=x"), ("subject", "//O=a"), ("subject", "/O=a/"),
    ("subject", "/O"), ("subject", "/FOO=bar"), ("subject", "/cn=a.example"),
    ("subject", "/2.5.4.3=x"), ("subject", "/O=a+OU=b"), ("subject", "/commonName=a_b"),
    ("subject", "/O=a;b"),
    ("subject", "/O=`id`"), ("subject", '/O="a"'), ("subject", "/O=<a>"), ("subject", "/ O=a"),
    ("subjectAltName", "a.example"), ("subjectAltName", "dns:a.example"),
    ("subjectAltName", "DNS:"), ("subjectAltName", "email:a@b.c"), ("subjectAltName", "URI:x"),
    ("subjectAltName", "dirName:sect"), ("subjectAltName", "otherName:1.2;UTF8:x"),
    ("subjectAltName", "@sect"), ("subjectAltName", "critical,DNS:a.example"),
    ("subjectAltName", "DNS:192.0.2.1"), ("subjectAltName", "IP:a.example"),
    ("subjectAltName", "DNS:a.example,RID:1.2"), ("subjectAltName", "DNS: a.example"),
    ("keyUsage", "digitalSignature,$ENV::x"), ("keyUsage", "@s"), ("keyUsage", "digitalsignature"),
    ("keyUsage", "contentCommitment"), ("keyUsage", "DER:0303"), ("keyUsage", "digitalSignature;x"),
    ("keyUsage", "digitalSignature,critical"), ("keyUsage", "ASN1:UTF8:x"),
    ("tlsfeature", "5"), ("tlsfeature", "status_request,$ENV::x"), ("tlsfeature", "-x"),
    ("hash", "-sha256"), ("hash", "sha256 -engine x"), ("hash", "x"), ("hash", "engine"),
    ("key-type", "rsa:1024"), ("key-type", "ec:P-521"), ("key-type", "ed25519"),
    ("key-type", "rsa:2048 -x"), ("key-type", "EC:P-256"), ("min-days", "soon"),
    ("min-days", "1.5"), ("CAfile", "ca.pem"), ("CAfile", "-x"), ("CAfile", "~/ca.pem"),
    ("certificate", "c.pem"), ("certificate", "/a/"), ("certificate", "/a/../b"),
    ("certificate", "/a/."), ("certificate", "~/c.pem"), ("certificate-chain", "./c.pem"),
    ("certificate-chain", "/.."), ("certificate-key", "-k"), ("certificate-key", "/a/b/"),
    ("certificate-key", "/"), ("owner", "no-such-user"), ("owner", "root:no-such-group"),
    ("owner", ":root"), ("owner", "root:"), ("owner", "0"), ("owner", "root:root:root"),
    ("chown", "no-such-user"), ("mode", "0666"), ("mode", "777"), ("mode", "4755"),
    ("mode", "1644"), ("mode", "u+r"), ("mode", "0o644"), ("mode", "8"), ("mode", "-1"),
    ("mode", "000644"),
    ("mode", "644x"), ("chmod", "602"), ("chmod", "２")]


@pytest.mark.parametrize("key, value", BAD_VALUES)
def test_values_that_are_refused(files: Files, key: str, value: str) -> None:
    assert files.fault(f"{key} = {value}").startswith(f"{key} = {value}: ")


@pytest.mark.parametrize("key", SECTION.names)
@pytest.mark.parametrize("value", ["a\x0bb", "/a\x1b[31m", "/a\x0cb", "/a\u2028b", "/a\x85b"])
def test_no_setting_holds_a_control_character(files: Files, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{files.path}/certs.conf, line 2: "):
        files.load(f"[a]\n{key} = {value}\nnames = a.example")


def test_nothing_strange_gets_onto_a_command_line(files: Files,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever loads of a corpus put into every setting is plain when openssl sees it."""
    corpus = ["\\n", "$ENV::PATH", "${ENV::PATH}", "@x", "x,y", "x y", "x;y", "x=y", "/x=y", "x\\",
              "x'y", 'x"y', "-x", "x:y", "DNS:x", "#x", "critical", "x%y", "x*y", "x\ty", "ü",
              "/CN=x.y,z.example", "DNS:a.b,@c", ".include /etc/passwd", "::1%$ENV::PATH",
              "/O=x:@sect", "/O=a, b", "x\u00ady", "IP:::1%x", "DNS:a.b%x", "/ca -x", "/c$ENV::A",
              "/x/../-CApath", "sha256", "rsa:2048", "digitalSignature", "status_request"]
    calls: list[list[str]] = []
    descriptor = openssl._memory(b"key")
    monkeypatch.setattr(openssl, "run", lambda _, arguments, *__: calls.append(arguments) or b"")
    for key in SECTION.names:
        for value in corpus:
            try:
                found = files.one(f"{key} = {value}" + ("" if key == "names" else
                                                        "\nnames = a.example"))
            except (ConfigError, SectionError):
                continue
            openssl.request("openssl", descriptor, found)
            openssl.generate_key("openssl", found.key_type)
            if found.ca_file:
                openssl.verify("openssl", [b"leaf"], b"chain", found.ca_file)
    os.close(descriptor)
    assert len(calls) > 20, "nothing was tried"
    for arguments in calls:
        subject = arguments[arguments.index("-subj") + 1] if "-subj" in arguments else "/"
        assert re.fullmatch(r"/|(/[A-Za-z]+=[\w .,:@'()&*!?-]{1,64})+", subject)
        # a path is a path, whatever is in it: openssl-verify(1) opens it, and parses nothing
        ca_file = arguments[arguments.index("-CAfile") + 1] if "-CAfile" in arguments else "/"
        assert ca_file.startswith("/") and ca_file.isprintable()
        for argument in set(arguments) - {ca_file}:
            assert argument == subject or argument == "pass:" or \
                re.fullmatch(r"[A-Za-z0-9_.:,=/-]+", argument), argument
            # the configuration language's own characters
            assert not set(argument) & set("$\\\n#;[]{}\"`"), argument


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", ".a", "/", "-x", "a\\b", "a:b", "a'b",
                                  "ä", "a" * 201, "$(id)", "~", " a".strip() + "/", "a;b"])
def test_section_names_that_name_no_directory(files: Files, name: str) -> None:
    assert "cannot name a directory below /lib/x/certs" in files.fault("names = x.example", name)
    # the explicit form needs none
    text = "certificate-key = /k\ncertificate = /c"
    assert files.one(text, name).name == name


@pytest.mark.parametrize("name", ["a", "example.org", "Example.org", "a b", "a_b", "a@b", "a+b",
                                  "*.example.org", "1", "a..b", "a" * 200, "_x"])
def test_section_names_that_do(files: Files, name: str) -> None:
    found = files.one("", name)
    assert os.path.dirname(found.key) == f"/lib/x/certs/{name}"
    assert os.path.normpath(found.key) == found.key


def test_section_names_have_an_end(files: Files) -> None:
    text = "certificate-key = /k\ncertificate = /c"
    files.one(text, "/" * 255)
    assert "255 characters" in files.fault(text, "/" * 256)


def test_unknown_settings(files: Files) -> None:
    for text in ("cafile = /x", "Names = x", "certificate_key = /x", "days = 3"):
        assert "unknown setting" in files.fault(text) and "subjectAltName" in files.fault(text)
    with pytest.raises(ConfigError, match="certs.conf: unknown setting “x”"):
        files.load("x = 1\n[a]\nnames = a.example")


def test_no_names(files: Files) -> None:
    for text in ("hash = sha256", "names =", "names = ,", "subject = /O=x", "subject = /"):
        with pytest.raises(SectionError, match=r"\[a\]: no names: set names = "):
            files.load(f"[a]\n{text}\n")


def test_too_many_names(files: Files) -> None:
    names = [f"a{n}.example" for n in range(certs.MAX_NAMES + 1)]
    files.one(f"names = {', '.join(names[1:])}")
    with pytest.raises(SectionError, match="more than 1000 names"):
        files.one(f"names = {', '.join(names)}")


KEYS = ("certificate", "certificate-chain")


@pytest.mark.parametrize("first, second", [
    ("certificate = /c", "certificate = /c"), ("certificate = /c", "certificate-chain = /c"),
    ("certificate = /c", "certificate = //c"), ("certificate = /d/c", "certificate = /d//./c"),
    ("", "certificate = /lib/x/certs/a/cert.pem"), ("certificate = /c", "certificate-key = /c"),
    ("certificate-key = /d/k", "certificate-chain = /d/./k"),
    ("", "certificate-chain = /lib/x/certs/a/privkey.pem")])
def test_two_sections_for_one_file(files: Files, first: str, second: str) -> None:
    texts = (f"[a]\nnames = a.example\n{first}\n", f"[b]\nnames = b.example\n{second}\n")
    for text in (texts[0] + texts[1], texts[1] + texts[0]):
        with pytest.raises(SectionError) as caught:
            files.load(text)
        assert "[a]" in str(caught.value) and "[b]" in str(caught.value)


def test_one_section_twice_for_one_file(files: Files) -> None:
    for key in ("certificate-chain", "certificate-key"):
        files.fault(f"certificate = /c\n{key} = /c")


def test_a_key_may_be_shared(files: Files) -> None:
    text = "names = x.example\ncertificate-key = /k\n"
    assert len(files.load(f"[a]\n{text}[b]\n{text}")) == 2


def test_ten_thousand_sections_in_a_moment(files: Files) -> None:
    import time
    files.write("certs.conf", "".join(f"[s{n}]\nnames = a{n}.example, b{n}.example\n\n"
                                      for n in range(3000)))
    start = time.process_time()
    assert len(files.load()) == 3000
    assert time.process_time() - start < 4


# --- what a section's fault is to the others -----------------------------------------------------

@pytest.mark.parametrize("text, expected", [
    ("names = b.example\nowner = nosuchuser", "owner = nosuchuser: there is no user"),
    ("notify = x", "no names"), ("names = https://b.example/", "a URL"),
    ("names = b.example\nname = x", "unknown setting “name”"), ("names = b..example", "not a host"),
    ("names = b.example\nmode = 0666", "mode = 0666")])
def test_a_bad_section_is_its_own_fault(files: Files, text: str, expected: str) -> None:
    files.write("certs.conf", f"[a]\nnames = a.example\n[b]\n{text}\n[c]\nnames = c.example\n")
    files.write("certs.conf.d/d.conf", "[d]\nnames = d.example\n")
    found = files.all()
    assert list(found.sections) == ["a", "c", "d"] and list(found.faults) == ["b"]
    assert str(found.faults["b"]).startswith(f"{files.path}/certs.conf, [b]: ")
    assert expected in str(found.faults["b"]) and found.faults["b"].exit_status == 1
    # a later file may replace it, for better or worse
    files.write("certs.conf.d/e.conf", f"[b]\nnames = e.example\n[a]\n{text}\n")
    found = files.all()
    assert list(found.sections) == ["c", "d", "b"] and list(found.faults) == ["a"]


def test_of_two_sections_for_one_file_neither_is_right(files: Files) -> None:
    files.write("certs.conf", "".join(f"[{name}]\nnames = {name}.example\ncertificate = /c{path}\n"
                                      for name, path in (("a", 1), ("b", 2), ("c", 1))))
    found = files.all()
    assert list(found.sections) == ["b"] and set(found.faults) == {"a", "c"}
    assert "is also the file of" in str(found.faults["a"])
    assert "is already the file of" in str(found.faults["c"])


@pytest.mark.parametrize("name", [
    ".#a.conf", ".b.conf", "#a.conf#", "#a.conf", "a.conf~", "a.conf.dpkg-new", "a.conf.dpkg-old",
    "a.conf.dpkg-dist", "a.conf.ucf-old", "a.conf.swp", "a.conf.bak", ".a.conf.swp"])
def test_files_that_are_nobodys_wish(files: Files, name: str) -> None:
    files.write("certs.conf.d/good.conf", "[good]\nnames = good.example\n")
    for make in (lambda path: path.symlink_to("root@host.1234:567"),
                 lambda path: path.write_text("nonsense")):
        make(files.path / "certs.conf.d" / name)
        assert list(files.load()) == ["good"]
        (files.path / "certs.conf.d" / name).unlink()


def test_lacme_files_beside_are_found_where_ours_have_no_section(files: Files) -> None:
    files.write("lacme-certs.conf", "owner = nobody ; comment\n[a] ; x\nsubject = /CN=a.example\n")
    files.write("lacme-certs.conf.d/b.conf", "[b]\nsubject = /CN=x.example\n"
                "subject = /CN=b.example\n[b]\nhash = sha512 ; \xfc\n")
    files.write("certs.conf", "# nothing\n")
    found = files.load()
    assert [section.identifiers[0][1] for section in found.values()] == ["a.example", "b.example"]
    assert found["a"].owner is not None and found["b"].hash == "sha512"
    files.write("certs.conf", "[c]\nnames = c.example\n")
    assert list(files.load()) == ["c"]
    # our own are read strictly
    files.write("certs.conf", "[c]\nnames = c.example\nhash = sha512 ; x\n")
    assert "only in lacme's files" in str(files.all().faults["c"])


def test_what_lacme_conf_names_is_lacmes(files: Files) -> None:
    files.write("lacme.conf", "config-certs = x.d/ y.conf ; more\n")
    files.write("x.d/a.conf", "[a]\nsubject = /CN=a.example ; x\n")
    files.write("y.conf", "[b]\nsubject = /CN=b.example ; x\n")
    main = config.load(str(files.path / "lacme.conf"))
    assert list(certs.load(main).sections) == ["a", "b"]
    assert list(certs.load(main, ["y.conf"]).faults) == ["b"], "named by somebody else"


def test_no_section_at_all(files: Files) -> None:
    found = files.all()
    assert found.empty and f"{files.path}/certs.conf" in found.hint
    files.write("certs.conf", "[a]\n")
    assert not files.all().empty, "a bad one is one, too"
