#!/usr/bin/env python3
"""Every query of the Grafana dashboard, and every rule, against real output of the program.

    .ci/check-queries.py [BINARY]

1. Every metric and label that a query or rule names is one that /metrics has.
2. promtool finds no fault in the rules, and their own tests hold.
3. promtool finds no fault in /metrics of a balancer with traffic, the compatible families included,
   and its OpenMetrics form holds.
4. A real Prometheus scrapes that balancer, and every query of the dashboard gives data.
"""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "deployments/grafana/dashboard.json"
RULES = [ROOT / f"deployments/prometheus/{name}.yml" for name in ("rules", "alerts")]
TESTS = ROOT / "deployments/prometheus/tests.yml"
BINARY = ROOT / "target/release/evenkeel"

TRAFFIC_SECONDS = 12
START_SECONDS = 20
JOB = "evenkeel"
# Prometheus adds these; `le` and `quantile` belong to its histograms.
ADDED_LABELS = {"job", "instance", "le"}
ADDED_METRICS = {"up"}
KEYWORDS = set(
    "by without on ignoring and or unless sum rate increase count max min avg vector changes time "
    "histogram_quantile group_left group_right bool offset".split()
)
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(address, seconds=5):
    with DIRECT.open(address, timeout=seconds) as answer:
        return answer.read().decode()


def until_answers(address):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            return fetch(address)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"queries: {address} did not answer within {START_SECONDS} s")


def exposed(text):
    """Metric name -> names of its labels, from the text format."""
    metrics = {}
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        name, labels = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?", line).groups()
        names = re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', labels or "")
        metrics.setdefault(name, set()).update(names)
    return metrics


def queries_of_dashboard():
    """(place, query) of panels, variables and annotations."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']!r}", target["expr"]
    for note in dashboard["annotations"]["list"]:
        yield f"annotation {note['name']!r}", note["expr"]


def variables_of_dashboard():
    """(place, metric with its selector, label)."""
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            yield f"variable {variable['name']}", found.group(1), found.group(2)


def queries_of_rules():
    """(place, query), and the names that rules record."""
    recorded, queries = set(), []
    for path in RULES:
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if found := re.match(r"\s+- record: (\S+)", line):
                recorded.add(found.group(1))
            if not (found := re.match(r"(\s+)expr: (.*)", line)):
                continue
            indent, query = len(found.group(1)), found.group(2).removeprefix(">-")
            for more in lines[number + 1 :]:
                if len(more) - len(more.lstrip()) <= indent:
                    break
                query += " " + more.strip()
            queries.append((f"{path.name}:{number + 1}", query.strip()))
    return queries, recorded


def faults(place, query, metrics):
    """Names in a query that no metric has."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)
    # Groupings name labels of whatever stands in their operand: those of all metrics of the query.
    groupings = re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", bare)
    rest = re.sub(r"\b(?:by|on|ignoring|without)\s*\([^)]*\)", " ", bare)
    rest = re.sub(r"\[[^\]]*\]", " ", rest)
    used = re.findall(r"([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?", rest)
    all_labels = set(ADDED_LABELS)
    for name, selector in used:
        if name in KEYWORDS or name in ADDED_METRICS:
            continue
        if name not in metrics:
            yield f"{place}: there is no metric {name}"
            continue
        labels = metrics[name] | ADDED_LABELS
        all_labels |= labels
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            if label not in labels:
                yield f"{place}: {name} has no label {label}"
    for label in re.findall(r"\w+", " ".join(groupings)):
        if label not in all_labels:
            yield f"{place}: no metric of the query has the label {label}"


class Stage:
    """Backends, a balancer and a Prometheus, in a folder of their own."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.running = binary, Path(folder), []
        self.traffic, self.admin, self.prometheus = free_port(), free_port(), free_port()

    def start(self, *command):
        log = (self.folder / f"log-{len(self.running)}").open("w")
        process = subprocess.Popen(
            [str(word) for word in command], cwd=self.folder, stdout=log, stderr=log
        )
        self.running.append(process)

    def open(self):
        backends = []
        for name, more in (("good", ()), ("bad", ("--fail-rate", "0.5"))):
            port = free_port()
            self.start(
                self.binary, "testserver", "--listen", f"127.0.0.1:{port}", "--name", name, *more
            )
            backends.append({"name": name, "address": f"127.0.0.1:{port}"})
        # Room for two: some have to wait, so that the queue's metrics are there.
        connections = {"max": 2, "queue": {"max": 50, "timeout": "5s"}}
        pool = {"name": "web", "backends": backends, "connections": connections}
        # Something to be told of autoscalers; nothing is started.
        driver = {"type": "exec", "command": ["true"]}
        scale = {"min": 1, "max": 2, "in_flight": 10, "dry_run": True, "driver": driver}
        scaled = {"name": "scaled", "backends": [backends[0]["address"]], "autoscale": scale}
        configuration = {
            "version": 1,
            "listeners": [{"name": "main", "bind": f"127.0.0.1:{self.traffic}"}],
            "routes": [{"name": "all", "pool": "web"}],
            "pools": [pool, scaled],
            "admin": {"bind": f"127.0.0.1:{self.admin}"},
            "metrics": {"families": ["native", "gobalance", "loadbalancer"]},
            "logging": {"level": "error", "access": {"enabled": False}},
        }
        (self.folder / "evenkeel.yaml").write_text(json.dumps(configuration))
        self.start(self.binary, "run", "-c", "evenkeel.yaml")
        until_answers(f"http://127.0.0.1:{self.admin}/readyz")

    def watch(self):
        scrape = {"job_name": JOB, "static_configs": [{"targets": [f"127.0.0.1:{self.admin}"]}]}
        files = [str(path) for path in RULES]
        text = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": files,
            "scrape_configs": [scrape],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(text))
        self.start(
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/series",
            f"--web.listen-address=127.0.0.1:{self.prometheus}",
        )
        until_answers(f"http://127.0.0.1:{self.prometheus}/-/ready")

    def send(self, seconds):
        """Requests from eight at a time, for so long."""
        end = time.monotonic() + seconds

        def ask():
            while time.monotonic() < end:
                try:
                    fetch(f"http://127.0.0.1:{self.traffic}/")
                except (urllib.error.URLError, OSError):
                    pass

        askers = [threading.Thread(target=ask) for _ in range(8)]
        [asker.start() for asker in askers]
        [asker.join() for asker in askers]

    def query(self, text):
        quoted = urllib.parse.urlencode({"query": text})
        try:
            answer = fetch(f"http://127.0.0.1:{self.prometheus}/api/v1/query?{quoted}")
        except urllib.error.HTTPError as error:
            return error.read().decode(), None
        return None, json.loads(answer)["data"]["result"]

    def close(self):
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def check_exposition(stage):
    """Faults of the two text forms, by promtool and by the OpenMetrics rules that it does not know."""
    page = f"http://127.0.0.1:{stage.admin}/metrics"
    linted = subprocess.run(
        ["promtool", "check", "metrics"], input=fetch(page), text=True, capture_output=True
    )
    # The older product shows milliseconds; its dashboards name that.
    named = "gobalance_request_duration_ms metric names should not contain abbreviated units"
    for line in linted.stderr.splitlines() + linted.stdout.splitlines():
        if line.strip() and line != named:
            yield f"promtool: {line}"
    text = fetch(f"{page}?format=openmetrics")
    if not text.endswith("# EOF\n") or text.count("# EOF") != 1:
        yield "OpenMetrics: it does not end in one # EOF"
    family, kind, seen = "", "", set()
    endings = {
        "counter": ("_total",),
        "gauge": ("",),
        "info": ("_info",),
        "histogram": ("_bucket", "_sum", "_count"),
    }
    for line in text.splitlines():
        if found := re.match(r"# TYPE (\S+) (\S+)$", line):
            family, kind = found.groups()
            if family in seen or kind not in endings:
                yield f"OpenMetrics: {line}"
            seen.add(family)
        elif not line.startswith("#"):
            name = re.match(r"[a-zA-Z_:][\w:]*", line)
            if not name or name[0] not in [family + ending for ending in endings.get(kind, ())]:
                yield f"OpenMetrics: {line} does not belong to the {kind} {family}"
            if " # " in line:
                yield f"OpenMetrics: an exemplar, which there are none of: {line}"


def filled(query):
    for name, value in (("$__rate_interval", "10s"), ("$job", JOB), ("$route", ".*"), ("$pool", ".*")):
        query = query.replace(name, value)
    return query


def check_live(stage):
    """Faults of queries that a Prometheus answers."""
    for place, query in queries_of_dashboard():
        error, result = stage.query(filled(query))
        # Something may not have happened, which an annotation is about.
        if error or (not result and not place.startswith("annotation")):
            yield f"{place}: {error or 'no data'}: {filled(query)}"
    for place, selector, label in variables_of_dashboard():
        error, result = stage.query(filled(selector))
        if error or not any(label in series["metric"] for series in result):
            yield f"{place}: {error or 'no value'}"
    for place, query in queries_of_rules()[0]:
        if error := stage.query(query)[0]:
            yield f"{place}: {error}"


def main():
    binary = Path(sys.argv[1] if len(sys.argv) > 1 else BINARY).resolve()
    missing = [name for name in ("prometheus", "promtool") if not shutil.which(name)]
    if missing:
        sys.exit(f"queries: {', '.join(missing)} is not installed (Debian: prometheus)")
    subprocess.run(["promtool", "check", "rules", *map(str, RULES)], check=True)
    subprocess.run(["promtool", "test", "rules", str(TESTS)], check=True)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(binary, folder)
        try:
            stage.open()
            stage.watch()
            stage.send(TRAFFIC_SECONDS)
            metrics = exposed(fetch(f"http://127.0.0.1:{stage.admin}/metrics"))
            rules, recorded = queries_of_rules()
            metrics |= {name: {"route", "pool"} for name in recorded}
            queries = [*queries_of_dashboard(), *rules]
            queries += [(place, selector) for place, selector, _ in variables_of_dashboard()]
            found = [fault for place, query in queries for fault in faults(place, query, metrics)]
            found += check_exposition(stage)
            found += check_live(stage)
        finally:
            stage.close()
    if found:
        sys.exit("queries: " + "\n".join(found))
    print(f"queries: {len(queries)} queries and rules name what there is, and give data")


if __name__ == "__main__":
    main()
