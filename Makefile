# Each target first installs what it lacks: system packages (as root or with sudo), and .venv,
# of the Python that PYTHON=... names.

.PHONY: demo test lint docs clean

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

# Writes anew what is made from the table of settings.
docs:
	@.ci/setup demo
	.venv/bin/python tests/settings_docs.py

clean:
	rm -rf .venv build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +
