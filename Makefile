# Each target first installs what it lacks: system packages (as root or with sudo), and .venv,
# of the Python that PYTHON=... names.

.PHONY: demo test lint coverage mutants bench torture docs suffixes deb release test-package test-packages clean

demo:
	@.ci/setup demo
	@PATH="$(CURDIR)/.venv/bin:$$PATH" tests/demo

test:
	@.ci/setup test
	.venv/bin/python -m pytest $(PYTEST)

lint:
	@.ci/setup lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# Branch coverage, filters and servers included; the modules without side effects have all of it.
PURE = addresses client decision expiry policy protocol public_suffix recipient reply screening \
	sender sender_schemes triplet whitelist/*
coverage:
	@.ci/setup test
	.venv/bin/python -m coverage erase
	.venv/bin/python -m coverage run -m pytest -q $(PYTEST)
	.venv/bin/python -m coverage combine -q
	.venv/bin/python -m coverage report
	.venv/bin/python -m coverage report -m --include="$$(printf 'greylist/%s.py,' $(PURE))" --fail-under=100

# Takes one to two hours; MUTANTS takes names, such as "greylist.expiry*". "mutmut results" lists those
# that no test noticed, "mutmut show NAME" one of them.
mutants:
	@.ci/setup mutants
	.venv/bin/mutmut run $(MUTANTS)
	.venv/bin/mutmut results | grep -v ': not checked$$' || :

# Needs root for the peers' packages and users; BENCH takes options and names of rows.
bench:
	@.ci/setup bench
	$(if $(filter 0,$(shell id -u)),,sudo) .venv/bin/python -m benchmarks $(BENCH)

# Runs for hours, and writes its table into docs/reliability.md; TORTURE takes options, such as
# "--part 0.01" for a hundredth of each size, and names of rows.
torture:
	@.ci/setup test
	.venv/bin/python -m tests.reliability.torture $(TORTURE)

# Writes anew what is made from the table of settings and the texts of --help.
docs:
	@.ci/setup demo
	.venv/bin/python tests/settings_docs.py
	.venv/bin/python -m greylist.commands.manual man

# The Debian package, into dist/; on Debian or Ubuntu.
deb:
	@.ci/setup deb
	packaging/deb

# sdist, wheel and Debian package of the tag that is checked out, their contents checked.
release:
	@.ci/setup deb
	packaging/release

# The package's life on this machine, below a layer that takes all changes; as root.
test-package: deb
	$(if $(filter 0,$(shell id -u)),,sudo) tests/packages/run here

# The same in fresh root file systems of Debian 12 and 13 and Ubuntu 24.04, made by debootstrap, and
# under a systemd; as root.
test-packages: deb
	@.ci/setup packages
	$(if $(filter 0,$(shell id -u)),,sudo) tests/packages/run

# Writes the public suffix list anew, from the package that pyproject.toml names.
suffixes:
	@.ci/setup test
	PYTHONPATH=. .venv/bin/python tests/public_suffixes.py

clean:
	rm -rf .venv build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache .coverage* mutants
	find . -name __pycache__ -prune -exec rm -rf {} +
