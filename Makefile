# Everything a fresh checkout needs. `make` alone lists the targets.
#
# Only git, make and Python are expected. What else is needed is installed into .venv (from the lock files, so
# every machine has the same versions) or, as root on Debian and its relatives, with apt-get.

PYTHON ?= python3
VENV ?= .venv

# What the integration tests drive: ACME clients of others, PostgreSQL (of which they start one of their own), and
# tools that look at what came out.
TEST_PACKAGES ?= \
    acme-tiny \
    apache2 \
    caddy \
    chromium \
    chromium-driver \
    curl \
    dehydrated \
    haproxy \
    iproute2 \
    lego \
    libcap2-bin \
    libnginx-mod-stream \
    lintian \
    mmdebstrap \
    nginx-light \
    openssl \
    postgresql \
    procps \
    prometheus \
    shellcheck \
    systemd \
    uacme

UV_VERSION := 0.9.30
APT_GET := DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --no-input
PYTHON_VERSION := import sys; print(*sys.version_info[:2])
RUNS := $(VENV)/ready-to-run
TESTS := $(VENV)/ready-to-test

# An inner make looks at the files again once it holds the lock, so that two starts at once install once.
LOCKED := $(shell command -v flock >/dev/null && echo flock .make.lock) $(MAKE) --no-print-directory

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint docs site lock deb clean acme-cert-manager-test acme-rfc-conformance-test
.PHONY: install install-test test-packages

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-32s %s\n", $$1, $$2}'

# With a settings file nothing is preset: the environment would win over the file.
run: ## Start the server in the foreground; state is kept in var/.
	@$(LOCKED) install
	@if [ -z "$$CERTCTL_SETTINGS_FILE" ]; then \
	    export CERTCTL_STATE_DIR="$${CERTCTL_STATE_DIR-$(CURDIR)/var}"; \
	    export CERTCTL_ACME_SERVER_ENABLED="$${CERTCTL_ACME_SERVER_ENABLED-true}"; \
	    export CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID="$${CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID-prof-default}"; \
	    export CERTCTL_LOG_FORMAT="$${CERTCTL_LOG_FORMAT-text}"; \
	fi; \
	exec $(VENV)/bin/twistd --nodaemon --pidfile= certctl

test: ## Check style and types, then run all tests; ends with a line of counts.
	@$(LOCKED) install-test
	@$(LOCKED) test-packages
	@$(VENV)/bin/python -m tests.run

lint: ## Check style (ruff) and types (mypy).
	@$(LOCKED) install-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

docs: ## Make the tables of settings in docs/, and etc/certctl.env, from certctl/settings.py.
	@$(LOCKED) install
	$(VENV)/bin/python -m certctl.settings_docs .

site: ## Make the documentation's site in build/site; a link that leads nowhere fails it.
	@$(LOCKED) install-test
	PYTHONPATH=. $(VENV)/bin/mkdocs build --strict --quiet

# uv resolves for all Pythons at once; this version of it, because later ones refuse txpostgres' .tar.bz2.
lock: ## Make the lock files anew from setup.cfg, with the newest versions.
	@set -e; uv=$$(mktemp -d); trap 'rm -rf "$$uv"' EXIT; \
	$(PYTHON) -m venv "$$uv"; "$$uv/bin/python" -m pip install --quiet uv==$(UV_VERSION); \
	printf 'setuptools\nwheel\n' >"$$uv/build.in"; \
	compile() { UV_CUSTOM_COMPILE_COMMAND="make lock" "$$uv/bin/uv" pip compile --quiet --upgrade --universal \
	    --python-version 3.11 --generate-hashes --no-annotate "$$@" setup.cfg "$$uv/build.in"; }; \
	compile --output-file requirements.lock; \
	compile --extra postgres --constraint requirements.lock --output-file requirements-postgres.lock; \
	compile --extra postgres --extra test --extra dev --constraint requirements.lock \
	    --output-file requirements-test.lock

deb: ## Build a Debian package into dist/, for the release whose Python makes it.
	@$(PYTHON) deploy/debian/build.py

acme-cert-manager-test: ## cert-manager against certctl, at the highest level that this machine allows, or at LEVEL=.
	@$(LOCKED) install-test
	@PATH="$(abspath $(VENV))/bin:$$PATH" PYTHON="$(abspath $(VENV))/bin/python" \
	    deploy/test/acme-integration/cert-manager-test.sh $(LEVEL)

acme-rfc-conformance-test: ## RFC 8555 by lego v4, against a server that is started for it.
	@$(LOCKED) install
	@PATH="$(abspath $(VENV))/bin:$$PATH" deploy/test/acme-integration/conformance-lego.sh

clean: ## Remove what was installed and built here; var/ stays.
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis .make.lock
	rm -f twisted/plugins/dropin.cache
	find certctl tests twisted -name __pycache__ -type d -prune -exec rm -rf {} +

# What follows is called by the targets above, under the lock.

install: $(RUNS) same-python
install-test: $(TESTS) same-python

# Other Pythons may have a running server in .venv, so it is not replaced behind its back.
.PHONY: same-python
same-python: $(RUNS)
ifneq ($(origin PYTHON),file)
	@[ "$$($(PYTHON) -c '$(PYTHON_VERSION)')" = "$$($(VENV)/bin/python -c '$(PYTHON_VERSION)')" ] || { \
	    echo "$(VENV) was made with another Python: make clean first, or choose another directory with VENV=..." >&2; \
	    exit 1; }
endif

# A .venv that was copied or moved here with its checkout still points to the old place: it is made anew.
ifneq ($(shell cat $(VENV)/made-in 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/made-in
endif

$(VENV)/made-in:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "There is no '$(PYTHON)' here, and certctl needs Python 3.11 or newer. On Debian and its relatives run this," \
	        "then make again: sudo apt-get install -y python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "certctl needs Python 3.11 or newer, and '$(PYTHON)' is not: name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory python-venv
	$(PYTHON) -m venv --clear $(VENV)
	@echo '$(CURDIR)' >$@

.PHONY: python-venv
python-venv:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    $(APT_GET) update && $(APT_GET) install -y --no-install-recommends python3-venv; \
	else \
	    echo "Python's venv module is missing; run this, then make again: sudo apt-get install -y python3-venv" >&2; \
	    exit 1; \
	fi

# `twistd --help` writes the cache of plugins, which a user without write access could not.
$(RUNS): requirements.lock setup.cfg pyproject.toml twisted/plugins/certctl_plugin.py $(VENV)/made-in
	$(PIP) install --quiet --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@$(VENV)/bin/twistd --help >/dev/null
	@touch $@

# One dependency is published as source alone: it is built with the setuptools of the lock file.
$(TESTS): requirements-test.lock $(RUNS)
	$(PIP) install --quiet --require-hashes --no-build-isolation -r requirements-test.lock
	@touch $@

test-packages:
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=; for package in $(TEST_PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q ' installed$$' || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ]; then $(APT_GET) update && $(APT_GET) install -y --no-install-recommends $$missing; \
	else echo "Tests that need these will be skipped; to have them: sudo apt-get install -y$$missing" >&2; fi
