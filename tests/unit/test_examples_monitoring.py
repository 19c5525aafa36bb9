"""The examples for Prometheus and Grafana name metrics that there are; alerts come when due."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from letsencrypt_tiny.common.x509.certificate import Certificate
from letsencrypt_tiny.master.report import metrics
from letsencrypt_tiny.master.report.standing import Standing

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RULES, DASHBOARD = EXAMPLES / "prometheus-rules.yml", EXAMPLES / "grafana-dashboard.json"
DAY = 86400
KNOWN = Certificate(b"", b"\1", b"0\0", b"0\0", (), 0, DAY, b"", frozenset(), None, None, False, ())

promtool = pytest.mark.skipif(shutil.which("promtool") is None,
                              reason="promtool (package prometheus) is not installed")


def expressions() -> list[str]:
    """Return what the dashboard asks for, with its variables filled in."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [expression.replace("$instance", ".*") for expression in found]


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_metrics_that_there_are(path: Path) -> None:
    found = set(re.findall(r"letsencrypt_tiny_(\w+)", path.read_text()))
    assert 5 < len(found) and found <= metrics._OF_SECTIONS.keys() | metrics._OF_ALL.keys()


def test_labels_that_there_are() -> None:
    """What legends, tables and summaries show of a metric is written with it."""
    written = {"section", "instance", *metrics._info(Standing("a"), KNOWN)}
    text = DASHBOARD.read_text()
    shown = {*re.findall(r"\{\{(\w+)\}\}", text),
             *re.findall(r"\$labels\.(\w+)", RULES.read_text())}
    for panel in json.loads(text)["panels"]:
        for step in panel.get("transformations", []):
            shown |= {name.partition(" ")[0] for name in step["options"].get("renameByName", {})
                      if not name.startswith("Value #")}
    assert {"section", "instance", "issuer"} <= shown <= written


def test_the_dashboard() -> None:
    """Each panel has its own number and place, and its queries letters of their own."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 5
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters))


@promtool
def test_promtool_reads_them(tmp_path: Path) -> None:
    subprocess.run(["promtool", "check", "rules", RULES], check=True, capture_output=True)
    rules = [{"record": f"x{number}", "expr": text} for number, text in enumerate(expressions())]
    file = tmp_path / "dashboard.yml"
    file.write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", file], check=True, capture_output=True)


def series(name: str, value: float, **labels: str) -> dict[str, str]:
    """Return a metric that stays as it is."""
    shown = ",".join(f'{key}="{text}"' for key, text in {"instance": "h", **labels}.items())
    return {"series": f"letsencrypt_tiny_{name}{{{shown}}}", "values": f"{value}x2000"}


def dates(section: str, not_before: float, not_after: float) -> list[dict[str, str]]:
    """Return the metrics of a certificate, in days of a time that begins with 0."""
    return [series(f"certificate_not_{end}_timestamp_seconds", day * DAY, section=section)
            for end, day in (("before", not_before), ("after", not_after))]


@promtool
@pytest.mark.parametrize("day, alerts", [
    (0.5, {"CertificateMissing": ["none"], "CertificateNotInUse": ["untold"],
           "CertificateSectionWrong": ["wrong"]}),
    (1.5, {"CertificateMissing": ["none"], "CertificateNotInUse": ["untold"],
           "CertificateSectionWrong": ["wrong"], "CertificateRenewalFails": ["failing"],
           "CertificateRunsAreMissing": [""], "CertificateNearsItsEnd": ["near"]}),
    (8, {"CertificateIsAboutToExpire": ["near"], "CertificateNearsItsEnd": ["near"],
         "CertificateExpired": ["short"]}),
    (12, {"CertificateExpired": ["near", "short"]})])
def test_alerts(day: float, alerts: dict[str, list[str]], tmp_path: Path) -> None:
    names = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert set(alerts) <= set(names)
    tests: dict[str, Any] = {
        "interval": "10m",
        "input_series": [
            *dates("good", 0, 90), *dates("near", -79, 11), *dates("short", 0, 6.7),
            series("section_certificate_missing", 1, section="none"),
            series("section_notification_pending", 1, section="untold"),
            series("section_fault", 1, section="wrong"), series("section_fault", 0, section="good"),
            series("section_failing_since_timestamp_seconds", 600, section="failing"),
            series("run_timestamp_seconds", 600)],
        # what promtool expects is said in full; so it is told to expect nothing, and tells
        "alert_rule_test": [{"eval_time": f"{int(day * 24 * 60)}m", "alertname": name,
                             "exp_alerts": []} for name in names]}
    found: dict[str, list[str]] = {}
    for name, labels in re.findall(r'Labels:\{alertname="(\w+)"(.*?)\}',
                                   promtool_finds(tmp_path, tests)):
        section = re.search(r'section="(\w+)"', labels)
        found.setdefault(name, []).append(section[1] if section else "")
    found = {name: sorted(sections) for name, sections in found.items()
             if name in alerts or day < 2 or "Expire" in name}
    assert found == alerts


def promtool_finds(directory: Path, test: dict[str, Any]) -> str:
    """Return what promtool says of alerts that it didn't expect; "" if there is none."""
    file = directory / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "10m",
                                "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True,
                          check=False)
    return done.stdout + done.stderr if done.returncode else ""
