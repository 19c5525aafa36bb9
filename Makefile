# letsencrypt-tiny
#
#   make                the programs and modules compile
#   make install        DESTDIR= prefix=/usr/local sysconfdir= localstatedir=/var runstatedir=/run
#   make uninstall      leaves configuration, keys and certificates
#   make deb            the Debian packages, source and binary, in build/
#   make check          the whole test suite; tests/check.sh STAGE… runs parts of it
#   make soak           tests that take minutes each
#   make mutants        takes each claim of SECURITY.md out of the code, and sees that tests fail
#                       (MUTANTS='--jobs=1 WORD …')
#   make demo           a certificate from a CA on this machine, through the four processes, as a
#                       picture (SVG=FILE writes it there, too)
#   make fuzz           the signer's policy against other readers, Go too where it is installed
#                       (FUZZ='--seconds=60 --seed=N'), and whatever reads what others wrote,
#                       guided by what is reached (GUIDED='--runs=1000000 --targets=signer,csr')
#   make bench          ours and the installed peers' time and memory (BENCH='--quick …')
#   make bench-peers    installs the peers
#   make clean
#
# deb, check, mutants, demo and bench install the Debian packages they need (with sudo where not
# root); soak gets two ACME servers by pip, too, below build/, and does without where it can't.

PACKAGE := letsencrypt-tiny
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' letsencrypt_tiny/__init__.py)
PYTHON  := /usr/bin/python3

prefix        = /usr/local
sysconfdir    = $(if $(filter /usr,$(prefix)),/etc,$(prefix)/etc)
localstatedir = /var
runstatedir   = /run
mandir        = $(prefix)/share/man
docdir        = $(prefix)/share/doc/$(PACKAGE)
# Where shells look for what completes command lines; zsh is told so by “fpath”.
bashdir       = $(prefix)/share/bash-completion/completions
zshdir        = $(prefix)/share/zsh/vendor-completions
# Where systemd finds units, sysusers.d and tmpfiles.d below /usr and /usr/local.
# Empty: install none of them.
unitdir       = $(prefix)/lib/systemd/system
sysusersdir   = $(prefix)/lib/sysusers.d
tmpfilesdir   = $(prefix)/lib/tmpfiles.d

# paths.py knows these as below the prefix
bindir        := $(prefix)/bin
sbindir       := $(prefix)/sbin
libexecdir    := $(prefix)/libexec/$(PACKAGE)
datadir       := $(prefix)/share/$(PACKAGE)
confdir       := $(sysconfdir)/$(PACKAGE)

PATHS    := letsencrypt_tiny/common/paths.py
MODULES  := $(wildcard $(addprefix letsencrypt_tiny/,*.py */*.py */*/*.py */*/*/*.py))
CONFFILES := letsencrypt-tiny.conf accountd.conf nginx.conf nginx-static.conf \
             nginx-stream.conf nginx-stateless.conf apache2.conf apache2-static.conf \
             apache2-stateless.conf haproxy.cfg haproxy-tls.cfg haproxy-stateless.cfg \
             caddy-stateless.conf
MAN := letsencrypt-tiny-accountd.1 letsencrypt-tiny.conf.5 letsencrypt-tiny-certs.conf.5 \
       letsencrypt-tiny-accountd.conf.5 letsencrypt-tiny-migrate.7 \
       letsencrypt-tiny-troubleshooting.7 letsencrypt-tiny.8
DOCS := $(wildcard README.md SECURITY.md RELIABILITY.md TASKS.md)
EXAMPLES := $(shell find examples -type f | LC_ALL=C sort)
SCHEMAS := share/status.schema.json

# The sources are written for prefix=/usr; this says in every installed file where it went.
REWRITE := sed \
  -e 's|^PREFIX = .*|PREFIX = "$(prefix)"|' \
  -e 's|^SYSCONFDIR = .*|SYSCONFDIR = "$(sysconfdir)"|' \
  -e 's|^LOCALSTATEDIR = .*|LOCALSTATEDIR = "$(localstatedir)"|' \
  -e 's|^RUNSTATEDIR = .*|RUNSTATEDIR = "$(runstatedir)"|' \
  -e 's,/usr/\(bin\|sbin\|libexec\|share\)/$(PACKAGE),$(prefix)/\1/$(PACKAGE),g' \
  -e 's|/etc/$(PACKAGE)|$(confdir)|g' \
  -e 's|/var/lib/$(PACKAGE)|$(localstatedir)/lib/$(PACKAGE)|g' \
  -e 's|/run/$(PACKAGE)|$(runstatedir)/$(PACKAGE)|g'

# $(call put,MODE,SOURCE,TARGET): install one rewritten file, never half of one
put = $(REWRITE) $(2) >$(DESTDIR)$(3).new && chmod $(1) $(DESTDIR)$(3).new \
      && mv $(DESTDIR)$(3).new $(DESTDIR)$(3)

DEBS_BUILD := apache2-dev build-essential debhelper dh-apparmor dh-python python3
DEBS_DEMO  := $(DEBS_BUILD) ca-certificates iproute2 iptables nftables openssl pebble procps \
              python3-configobj python3-pycryptodome python3-seccomp
DEBS_CHECK := $(DEBS_DEMO) apache2-bin apparmor bind9 bind9-utils caddy devscripts gnupg haproxy \
              jq lacme lacme-accountd ?libengine-pkcs11-openssl libcrypt-openssl-rsa-perl \
              libnginx-mod-stream lintian locales \
              mandoc mmdebstrap mount mypy netcat-openbsd nginx openssh-client openssh-server pycodestyle \
              pyflakes3 ?p11-kit-modules ?pkcs11-provider python3-dnspython python3-idna ?python3-lexicon \
              python3-hypothesis python3-jsonschema python3-pytest python3-venv softhsm2 strace \
              systemd zsh
# what “make soak” tries besides: the clients that certificates are taken over from, and what tries
# packages and their units
DEBS_SOAK  := acme-tiny certbot dehydrated lego piuparts systemd-container
DEBS_BENCH := ca-certificates debian-archive-keyring iproute2 mmdebstrap nftables openssl pebble \
              python3-configobj python3-pycryptodome python3-seccomp strace
DEBS_PEERS := acme-tiny curl dehydrated lacme lego libcrypt-openssl-rsa-perl nginx uacme
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: all install uninstall deb build-deps check soak mutants demo fuzz bench bench-peers clean

all:
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -I -c 'import sys; \
	[compile(open(f, "rb").read(), f, "exec") for f in sys.argv[1:]]' $(MODULES) \
	  $(wildcard programs/*)

install: all
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(sbindir) $(DESTDIR)$(libexecdir) \
	  $(DESTDIR)$(confdir)/certs.conf.d \
	  $(DESTDIR)$(confdir)/letsencrypt-tiny.conf.d $(DESTDIR)$(docdir) \
	  $(addprefix $(DESTDIR)$(datadir)/,$(sort $(dir $(MODULES)))) \
	  $(addprefix $(DESTDIR)$(mandir)/man,1 5 7 8)
	@echo "installing for prefix=$(prefix) sysconfdir=$(sysconfdir) below “$(DESTDIR)/”"
	@set -e; for f in $(MODULES); do install -m 0644 $$f $(DESTDIR)$(datadir)/$$f; done
	@$(call put,0644,$(PATHS),$(datadir)/$(PATHS))
	install -m 0644 -t $(DESTDIR)$(datadir) $(SCHEMAS)
	install -D -m 0644 share/letsencrypt-tiny.bash $(DESTDIR)$(bashdir)/letsencrypt-tiny
	install -D -m 0644 share/_letsencrypt-tiny $(DESTDIR)$(zshdir)/_letsencrypt-tiny
	@$(call put,0755,programs/letsencrypt-tiny,$(sbindir)/letsencrypt-tiny)
	@$(call put,0755,programs/letsencrypt-tiny-accountd,$(bindir)/letsencrypt-tiny-accountd)
	@$(call put,0755,programs/client,$(libexecdir)/client)
	@$(call put,0755,programs/webserver,$(libexecdir)/webserver)
	@$(call put,0755,programs/dns,$(libexecdir)/dns)
	@$(call put,0755,programs/tlsserver,$(libexecdir)/tlsserver)
	@set -e; for f in $(CONFFILES); do \
	  if [ -z "$(DESTDIR)" ] && [ -e $(confdir)/$$f ]; then echo "kept $(confdir)/$$f"; \
	  else $(call put,0644,config/$$f,$(confdir)/$$f); fi; done
	@set -e; for f in $(MAN); do d=$(mandir)/man$${f##*.}/$$f; $(call put,0644,man/$$f,$$d); done
ifneq ($(DOCS),)
	install -m 0644 -t $(DESTDIR)$(docdir) $(DOCS)
endif
	install -d $(addprefix $(DESTDIR)$(docdir)/,$(sort $(dir $(EXAMPLES))))
	@set -e; for f in $(EXAMPLES); do \
	  $(call put,$$([ -x $$f ] && echo 0755 || echo 0644),$$f,$(docdir)/$$f); done
	@$(call put,0644,config/certs.conf,$(docdir)/examples/certs.conf)
ifneq ($(unitdir),)
	install -d $(DESTDIR)$(unitdir)
	@$(call put,0644,debian/$(PACKAGE).service,$(unitdir)/$(PACKAGE).service)
	@$(call put,0644,debian/$(PACKAGE).timer,$(unitdir)/$(PACKAGE).timer)
	@$(call put,0644,debian/$(PACKAGE).$(PACKAGE)-failures.service,$(unitdir)/$(PACKAGE)-failures.service)
	@set -e; for f in .service .socket @.service @.socket; do \
	  $(call put,0644,debian/$(PACKAGE)-accountd$$f,$(unitdir)/$(PACKAGE)-accountd$$f); done
endif
ifneq ($(sysusersdir),)
	install -d $(DESTDIR)$(sysusersdir)
	@set -e; for f in $(PACKAGE) $(PACKAGE)-accountd; do \
	  $(call put,0644,debian/$$f.sysusers,$(sysusersdir)/$$f.conf); done
endif
ifneq ($(tmpfilesdir),)
	install -d $(DESTDIR)$(tmpfilesdir)
	@set -e; for f in $(PACKAGE) $(PACKAGE)-accountd; do \
	  $(call put,0644,debian/$$f.tmpfiles,$(tmpfilesdir)/$$f.conf); done
endif
ifeq ($(DESTDIR),)
	$(PYTHON) -m compileall -q $(datadir)/letsencrypt_tiny
	@echo "Now create users and directories: systemd-sysusers && systemd-tmpfiles --create"
endif

# Users, configuration, keys and certificates stay.
uninstall:
	rm -f $(foreach f,$(MAN),$(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(f)))/$(f)) \
	  $(DESTDIR)$(sbindir)/letsencrypt-tiny $(DESTDIR)$(bindir)/letsencrypt-tiny-accountd \
	  $(DESTDIR)$(bashdir)/letsencrypt-tiny $(DESTDIR)$(zshdir)/_letsencrypt-tiny
	rm -rf $(DESTDIR)$(libexecdir) $(DESTDIR)$(datadir) $(DESTDIR)$(docdir)
ifneq ($(unitdir),)
	rm -f $(addprefix $(DESTDIR)$(unitdir)/$(PACKAGE),.service .timer -failures.service \
	  $(addprefix -accountd,.service .socket @.service @.socket))
endif
ifneq ($(sysusersdir),)
	rm -f $(addprefix $(DESTDIR)$(sysusersdir)/$(PACKAGE),.conf -accountd.conf)
endif
ifneq ($(tmpfilesdir),)
	rm -f $(addprefix $(DESTDIR)$(tmpfilesdir)/$(PACKAGE),.conf -accountd.conf)
endif

# dpkg-buildpackage writes beside and into the source tree, so it gets a copy.
COPY := build/$(PACKAGE)-$(VERSION)
deb:
	@dpkg-checkbuilddeps 2>/dev/null || tests/setup.sh $(DEBS_BUILD)
	rm -rf $(COPY) build/$(PACKAGE)_* build/$(PACKAGE)-accountd_* && mkdir -p $(COPY)
	tar -c --exclude=./build --exclude=./.git --exclude=__pycache__ . | tar -x -C $(COPY)
	cd $(COPY) && dpkg-buildpackage -us -uc
	rm -rf $(COPY)

build-deps:
	@tests/setup.sh $(DEBS_BUILD)

check:
	@tests/setup.sh $(DEBS_CHECK)
	tests/check.sh

# what takes too long for every day
soak:
	@tests/setup.sh $(DEBS_CHECK) $(DEBS_SOAK)
	tests/check.sh soak

# MUTANTS: options, see tests/mutants.py
mutants:
	@tests/setup.sh $(DEBS_CHECK)
	$(SUDO) $(PYTHON) -B tests/mutants.py $(MUTANTS)

# SVG: a file for the picture; sudo passes neither NO_COLOR nor what make itself goes by
demo:
	@$(SUDO) env $${NO_COLOR:+NO_COLOR=1} MAKEFLAGS= MAKELEVEL= tests/demo.sh '$(VERSION)' \
	  '$(SVG)' $(DEBS_DEMO)

# FUZZ: options, see tests/fuzz/__main__.py; GUIDED: see tests/fuzz/guided.py
fuzz:
	@tests/setup.sh python3 openssl python3-configobj python3-pycryptodome python3-venv
	cd tests && PYTHONPATH=.. $(PYTHON) -B -m fuzz $(FUZZ)
	cd tests && PYTHONPATH=.. $(PYTHON) -B -m fuzz.guided $(GUIDED)

# BENCH: options, see tests/bench/__main__.py
bench:
	@tests/setup.sh $(DEBS_BENCH)
	cd tests && $(SUDO) env PYTHONPATH=.. $(PYTHON) -B -m bench $(BENCH)

# certbot gets a root directory of its own (bench/chroot.py)
bench-peers:
	@tests/setup.sh $(DEBS_PEERS)

clean:
	rm -rf build
	find letsencrypt_tiny tests -name __pycache__ -type d -exec rm -rf {} +
