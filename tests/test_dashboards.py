"""The dashboard and the alerts: each figure that they name is one that is exported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from greylist.commands.metrics import render
from greylist.serve.metrics import Metrics

PACKAGING = Path(__file__).parent.parent / "packaging"
NAME = re.compile(r"\bgreylist_[a-z_]+")


def dashboard():
    """Return the queries of the dashboard."""
    panels = json.loads((PACKAGING / "grafana" / "greylist.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def alerts():
    """Return the expressions of the alerts."""
    text = (PACKAGING / "prometheus" / "greylist.rules.yml").read_text()
    return re.findall(r"^ +expr: (.+)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def exported():
    """Return the names that "greylist metrics" prints, and those that the server counts."""
    figures = SimpleNamespace(
        settled=(2, 1), states={"waiting": 1}, delays=[5],
        quantile={0.5: 5, 0.9: 5, 0.99: 5, 1: 5}.get,
        days=[(1, 0)], bytes=1, log_bytes=1, now=1,
    )  # fmt: skip
    metrics = Metrics(SimpleNamespace(connections=()))
    metrics._delays.observe(1)
    samples = [sample.name for family in metrics._registry.collect() for sample in family.samples]
    metrics._decisions.labels("pass", "new").inc()
    samples += [sample.name for family in metrics._registry.collect() for sample in family.samples]
    return {*samples, *NAME.findall(render(figures))}


@pytest.mark.parametrize("expressions", [dashboard, alerts])
def test_names(expressions, exported):
    """A name that nobody exports would be an empty panel, or an alert that never comes."""
    found = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(found) > 5
    assert found <= exported
