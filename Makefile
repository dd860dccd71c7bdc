# Each target first installs what it lacks: system packages (as root or with sudo), and .venv,
# of the Python that PYTHON=... names.

.PHONY: demo test lint bench torture docs suffixes clean

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

# Writes the public suffix list anew, from the package that pyproject.toml names.
suffixes:
	@.ci/setup test
	PYTHONPATH=. .venv/bin/python tests/public_suffixes.py

clean:
	rm -rf .venv build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +
