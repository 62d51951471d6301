#!/usr/bin/env python3
"""The dashboard in a real browser, against a real balancer with real traffic.

    .ci/check-dashboard.py [BINARY] [--pictures FOLDER]
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from browser import DIRECT, Browser, free_port  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/evenkeel"
START_SECONDS = 20
MAX_BYTES = 150_000
USABLE_MS = 1000
MANY = 300
LOADED = "return document.documentElement.dataset.loaded === 'true'"

# Dots and lines on the chart of latency: nothing else there has a colour.
LATENCY_INK = """
const canvas = document.querySelector('#latency canvas');
const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
for (let at = 0; at < data.length; at += 4) {
  const pixel = data.slice(at, at + 3);
  if (data[at + 3] > 200 && Math.max(...pixel) - Math.min(...pixel) > 60) return true;
}
return false;
"""

# Text whose colour is too close to what lies behind it (WCAG 2.2, 1.4.3).
CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((it) => it / 255)
  .map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4))
  .reduce((sum, it, index) => sum + it * [0.2126, 0.7152, 0.0722][index], 0);
const behind = (node) => {
  for (let it = node; it; it = it.parentElement) {
    const colour = parse(getComputedStyle(it).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const found = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const node = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !node.getClientRects().length || node.closest('.unseen')) continue;
  const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5 && !node.closest('button:disabled')) found.push(`${texts.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return [...new Set(found)];
"""

# What cannot be told apart or reached without eyes or mouse.
NAMELESS = """
const name = (it) => it.getAttribute('aria-label') || it.textContent.trim() || (it.labels && it.labels.length && it.labels[0].textContent.trim());
const nameless = [...document.querySelectorAll('button, a, input, select')].filter((it) => !name(it));
const headless = [...document.querySelectorAll('th')].filter((it) => !it.hasAttribute('scope'));
const landmarks = ['header', 'nav', 'main', 'footer'].filter((it) => !document.querySelector(it));
const unlabelled = [...document.querySelectorAll('section:not([hidden])')].filter((it) => !it.hasAttribute('aria-label') && !it.hasAttribute('aria-labelledby'));
return [...nameless, ...headless, ...unlabelled].map((it) => it.outerHTML.slice(0, 80)).concat(landmarks);
"""

# Every text that is drawn on a chart.
WATCH_CHARTS = """
const draw = CanvasRenderingContext2D.prototype.fillText;
window.drawn = [];
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
  window.drawn.push(text);
  return draw.call(this, text, ...rest);
};
"""

# The times among them that are not of the last quarter of an hour; nothing before there are any.
OTHER_TIMES = """
const now = new Date();
const minutes = now.getHours() * 60 + now.getMinutes();
const times = window.drawn.map((it) => /^(\\d\\d):(\\d\\d)(:\\d\\d)?$/.exec(it)).filter(Boolean);
const gap = ([, hour, minute]) => Math.abs(minutes - (hour * 60 + Number(minute)));
return times.length ? times.filter((it) => Math.min(gap(it), 1440 - gap(it)) > 16).map(([it]) => it) : null;
"""

ROW = """
const row = [...document.querySelectorAll('#backend-list tbody tr')].find((it) => it.querySelector('th') && it.querySelector('th').firstChild.data === arguments[0]);
return row ? row.innerText : '';
"""


def fetch(address):
    try:
        with DIRECT.open(address, timeout=5) as answer:
            return answer.status, answer.headers.get("X-Backend"), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, None, error.read()


class Stage:
    """A balancer and its backends in a folder."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.running = binary, Path(folder), {}
        self.traffic, self.admin = free_port(), free_port()
        self.page = f"http://127.0.0.1:{self.admin}/"

    def start(self, name, *command):
        log = (self.folder / f"{name}.log").open("w")
        words = [str(word) for word in (self.binary, *command)]
        self.running[name] = subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log)

    def backend(self, name):
        port = free_port()
        self.start(name, "testserver", "--listen", f"127.0.0.1:{port}", "--name", name)
        return {"name": name, "address": f"127.0.0.1:{port}"}

    def run(self, pools, admin=None):
        configuration = {
            "version": 1,
            "listeners": [{"name": "main", "bind": f"127.0.0.1:{self.traffic}"}],
            "routes": [{"name": "all", "pool": pools[0]["name"]}],
            "pools": pools,
            "admin": {"bind": f"127.0.0.1:{self.admin}", **(admin or {})},
            "logging": {"level": "error", "access": {"enabled": False}},
            "recorder": {"slow": "1ms"},
        }
        (self.folder / "evenkeel.yaml").write_text(json.dumps(configuration))
        self.start("evenkeel", "run", "-c", "evenkeel.yaml")
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                if fetch(self.page + "livez")[0] == 200:
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        log = (self.folder / "evenkeel.log").read_text()
        sys.exit(f"dashboard: the balancer did not start:\n{log}")

    def send(self, count):
        """Requests one after another; who answered."""
        return [fetch(f"http://127.0.0.1:{self.traffic}/")[1] for _ in range(count)]

    def stop(self, name):
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(15)

    def close(self):
        for process in self.running.values():
            process.kill()
            process.wait(10)


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


def total(browser):
    shown = browser.run("return document.getElementById('total-requests').textContent")
    return int(shown.replace(",", ""))


def loads(browser, stage):
    """How soon it can be used, and how much a browser has to fetch for it."""
    times = []
    for _ in range(3):
        browser.open(stage.page)
        browser.until("the page is loaded", LOADED)
        mark = "return performance.getEntriesByName('usable')[0].startTime"
        times.append(browser.run(mark))
    expect(min(times) < USABLE_MS, f"usable after {min(times):.0f} ms, bound is {USABLE_MS}")
    sizes = browser.run("""
        const own = performance.getEntriesByType('resource').filter((it) => it.name.includes('/assets/'));
        return performance.getEntriesByType('navigation')[0].decodedBodySize + own.reduce((sum, it) => sum + it.decodedBodySize, 0);
    """)
    expect(50_000 < sizes < MAX_BYTES, f"{sizes} bytes, bound is {MAX_BYTES}")
    print(f"dashboard: usable after {min(times):.0f} ms (of {[round(it) for it in times]}), {sizes} bytes")


def has_a_clock(browser, stage):
    """Times stand below the charts from the beginning, when there is one step, or none."""
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", source=WATCH_CHARTS)
    browser.open(stage.page)
    browser.until("the page is loaded", LOADED)
    for steps in ("no step", "one step"):
        browser.until("times are drawn", f"return (function () {{ {OTHER_TIMES} }})() !== null")
        others = browser.run(OTHER_TIMES)
        expect(not others, f"{steps}: times of another hour are drawn: {others}")
        expect("NaN" not in browser.run("return document.body.innerText"), f"{steps}: no number")
        browser.until("there is a step", "return /: [\\d.]+/.test(document.getElementById('traffic-now').textContent)", seconds=12)
        browser.run("window.drawn = []")
        browser.scheme("dark")  # Draws anew.
    browser.scheme("light")


def grows(browser, stage):
    """The number of requests grows by what was sent, within 5 s; and the charts have lines."""
    before = total(browser)
    stage.send(100)
    browser.until(
        "100 requests are on the page",
        "return Number(document.getElementById('total-requests').textContent.replaceAll(',', '')) === arguments[0]",
        before + 100,
    )
    drawn = "return [...document.querySelectorAll('.charts canvas')].filter((it) => it.width > 100).length"
    browser.until("three charts are drawn", f"{drawn.replace('return ', 'return 3 === ')}")
    browser.until("the caption tells the rate", "return /: [\\d.]+/.test(document.getElementById('traffic-now').textContent)", seconds=12)
    browser.until("one step of latency is seen, with none beside it", LATENCY_INK, seconds=12)
    for scope, text in (("route\nall", "all"), ("pool\nweb", "web"), ("backend\nweb\nb1", "web / b1")):
        choose = """
            const scope = document.getElementById('scope');
            scope.value = arguments[0];
            scope.dispatchEvent(new Event('change'));
            return scope.selectedOptions[0].textContent === arguments[1];
        """
        expect(browser.run(choose, scope, text), f"charts of {scope!r}")


def tells_state(browser, stage):
    """A backend that dies changes its row, in words; features in force are listed."""
    for name in ("b1", "b2", "b3"):
        expect("serving" in browser.run(ROW, name), f"{name}: {browser.run(ROW, name)!r}")
    features = browser.run("return document.getElementById('pool-list').innerText")
    for feature in ("health checks", "circuit breaker", "retry", "sticky sessions", "fail open"):
        expect(feature in features, f"{feature} is not among the features: {features}")
    stage.stop("b3")
    stage.send(6)
    browser.until("b3 is unhealthy in words", f"return (function () {{ {ROW} }})('b3').includes('unhealthy')")
    browser.click('[data-do="details"][data-backend="b3"]')
    details = "return document.querySelector('tr.details').innerText"
    for word in ("Admin", "Health", "Breaker", "Reason", "Since", "probes"):
        expect(word in browser.run(details), f"{word} is not in the details: {browser.run(details)}")
    browser.click('[data-do="details"][data-backend="b3"]')


def tells_discovery(browser, stage):
    """Who is asked for backends, how many were found, and what is wrong."""
    card = "return document.querySelector('#pool-list [data-key=\"found\"]').innerText"
    browser.until("one is found", f"return (function () {{ {card} }})().includes('1 found, last good answer')")
    for word in ("answers", "file", "targets.json"):
        expect(word in browser.run(card), f"{word} is not in {browser.run(card)!r}")
    (stage.folder / "targets.json").write_text("[{")
    browser.until("the mistake is told", f"return (function () {{ {card} }})().includes('fails')", seconds=12)
    expect("1 found" in browser.run(card), f"what was known stays: {browser.run(card)!r}")


def drains(browser, stage):
    """An operator drains a backend, after a question; and takes it back in."""
    drain = '[data-do="draining"][data-backend="b2"]'
    browser.click(drain)
    browser.until("it asks", "return document.getElementById('confirm').open")
    expect("in flight" in browser.run("return document.getElementById('confirm').innerText"), "the question says what is in flight")
    browser.click('#confirm button[value=""]')
    expect("serving" in browser.run(ROW, "b2"), "Cancel changes nothing")
    browser.click(drain)
    browser.click("#confirm button.main")
    browser.until("the row says draining", f"return (function () {{ {ROW} }})('b2').includes('draining')")
    browser.until("it is said aloud", "return document.getElementById('announcer').textContent.includes('b2 is draining')")
    expect(set(stage.send(20)) == {"b1"}, "a backend that drains gets no new request")
    browser.click('[data-do="enabled"][data-backend="b2"]')
    browser.click("#confirm button.main")
    browser.until("the row says serving", f"return (function () {{ {ROW} }})('b2').includes('serving')")
    expect("b2" in stage.send(20), "it takes traffic again")
    browser.click('[data-do="weight"][data-backend="b1"]')
    browser.run("document.querySelector('#confirm input').value = '0'")
    browser.click("#confirm button.main")
    browser.until("weight 0", f"return !(function () {{ {ROW} }})('b1').includes('serving')")
    expect(set(stage.send(10)) == {"b2"}, "weight 0 = no new traffic")
    browser.click('[data-do="strategy"][data-pool="web"]')
    browser.run("document.querySelector('#confirm select').value = 'least_connections'")
    browser.click("#confirm button.main")
    browser.until("the strategy is shown", "return document.querySelector('#pool-list code').textContent === 'least_connections'")


def is_for_everybody(browser, stage):
    """Names, landmarks, contrast in both themes, the keyboard, and a narrow screen."""
    faults = browser.run(NAMELESS)
    expect(not faults, f"without a name or a place: {faults}")
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        faults = browser.run(CONTRAST)
        expect(not faults, f"{scheme}: too little contrast: {faults}")
    browser.scheme("light")
    browser.open(stage.page)
    browser.until("the page is loaded", LOADED)
    browser.press("\ue004")
    focus = "return document.activeElement.className + getComputedStyle(document.activeElement).outlineStyle"
    expect(browser.run(focus) == "skipsolid", f"the first Tab shows the way: {browser.run(focus)}")
    for width in (320, 400, 600):
        browser.size(width, 800)
        fits = f"return document.documentElement.scrollWidth <= {width}"
        browser.until(f"it fits {width} px", fits)
        outside = f"return [...document.querySelectorAll('#sections a:not([hidden])')].filter((it) => it.getBoundingClientRect().right > {width}).map((it) => it.textContent)"
        expect(browser.run(outside) == [], f"{width} px: sections that cannot be seen: {browser.run(outside)}")
    browser.size(1400, 1000)


def takes_pictures(browser, folder, name):
    if not folder:
        return
    folder.mkdir(parents=True, exist_ok=True)
    browser.run("document.activeElement.blur(); document.documentElement.style.scrollbarWidth = 'none'; scrollTo(0, 0)")
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        for width, height in ((1400, 1000), (400, 860)):
            browser.size(width, height)
            time.sleep(0.5)  # A chart fits itself to its box a frame later.
            browser.picture(folder / f"{name}-{width}-{scheme}.png", whole=True)
    browser.size(1400, 1000)
    browser.scheme("light")


def keeps_to_itself(browser, stage):
    """No console error, no request to anybody else, data at least every 5 s."""
    errors = [entry["message"] for entry in browser.log("browser") if entry["level"] == "SEVERE"]
    expect(not errors, f"console: {errors}")
    asked = []
    for entry in browser.log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    own = (stage.page, "data:", "chrome:")
    foreign = [address for address in asked if not address.startswith(own)]
    expect(asked and not foreign, f"asked somebody else: {foreign}")
    gap = browser.run("""
        const times = performance.getEntriesByType('resource').filter((it) => it.name.includes('/api/v1/status')).map((it) => it.startTime);
        return Math.max(0, ...times.slice(1).map((it, index) => it - times[index]));
    """)
    expect(gap <= 5500, f"{gap:.0f} ms without reading")


def three_backends(binary, pictures):
    with tempfile.TemporaryDirectory() as folder:
        stage, browser = Stage(binary, folder), None
        try:
            health = {"type": "http", "path": "/", "interval": "200ms", "timeout": "1s"}
            affinity = {"type": "cookie"}
            backends = [stage.backend(name) for name in ("b1", "b2", "b3")]
            pool = {"name": "web", "backends": backends, "health": health, "affinity": affinity}
            (stage.folder / "targets.json").write_text('[{"targets": ["127.0.0.1:9"]}]')
            found = {"type": "file", "path": f"{folder}/targets.json", "interval": "1s"}
            stage.run([pool, {"name": "found", "discovery": found, "health": {"type": "none"}}])
            browser = Browser(folder)
            browser.size(1400, 1000)
            for check in (has_a_clock, loads, grows, tells_state, tells_discovery, drains, is_for_everybody):
                check(browser, stage)
                print(f"dashboard: {check.__name__}: ok")
            takes_pictures(browser, pictures, "three")
            keeps_to_itself(browser, stage)
            print("dashboard: keeps_to_itself: ok")
        finally:
            if browser:
                browser.close()
            stage.close()


def many_backends(binary, pictures):
    """Three hundred backends: as quick, a page at a time, found by a filter."""
    with tempfile.TemporaryDirectory() as folder:
        stage, browser = Stage(binary, folder), None
        try:
            def pool(name):
                each = [{"name": f"{name}-{index}", "address": f"127.0.0.1:{index + 1}"} for index in range(MANY // 3)]
                return {"name": name, "backends": each, "health": {"type": "none"}}

            stage.run([pool(name) for name in ("web", "api", "img")])
            browser = Browser(folder)
            browser.size(1400, 1000)
            loads(browser, stage)
            rows = "return document.querySelectorAll('#backend-list tbody tr').length"
            expect(browser.run(rows) == 25, f"{browser.run(rows)} rows at a time")
            browser.click('[data-do="page"][data-page="1"]')
            expect("26" in browser.run("return document.querySelector('.pager').innerText"), "the second page")
            browser.type("#backend-filter", "img-77")
            browser.until("one row is left", f"{rows.replace('return ', 'return 1 === ')}")
            browser.run("const it = document.getElementById('backend-filter'); it.value = ''; it.dispatchEvent(new Event('input'))")
            takes_pictures(browser, pictures, "many")
            keeps_to_itself(browser, stage)
            print("dashboard: many_backends: ok")
        finally:
            if browser:
                browser.close()
            stage.close()


def migrations(binary):
    """What has not been seen often enough has not failed; and gates fit a telephone."""
    with tempfile.TemporaryDirectory() as folder:
        stage, browser = Stage(binary, folder), None
        try:
            pools = [{"name": name, "backends": [stage.backend(name)], "health": {"type": "none"}} for name in ("old", "new")]
            stage.run(pools)
            plan = {"name": "m", "route": "all", "from": "old", "to": "new", "interval": "1s", "stages": [{"weight": 1, "min_duration": "1h"}]}
            fields = {"Content-Type": "application/json"}
            asked = urllib.request.Request(stage.page + "api/v1/migrations", json.dumps(plan).encode(), fields)
            expect(DIRECT.open(asked, timeout=5).status == 201, "the migration starts")
            stage.send(5)
            browser = Browser(folder)
            browser.size(320, 800)
            browser.open(stage.page)
            browser.until("gates are shown", "return document.querySelectorAll('#migrations tbody tr').length >= 3", seconds=12)
            said = browser.run("return document.getElementById('migrations').innerText")
            for word, is_there in (("too early", True), ("no requests yet", True), ("99.0 %", True), ("1.5×", True), ("fails", False)):
                expect((word in said) == is_there, f"{word}: {said}")
            expect(browser.run("return document.documentElement.scrollWidth <= 320"), "it fits 320 px")
            print("dashboard: migrations: ok")
            stage.stop("evenkeel")
            stage.start("evenkeel", "run", "-c", "evenkeel.yaml")
            told = "return ['stopped', 'started'].every((it) => document.getElementById('event-list').innerText.includes(it))"
            browser.until("what happened while nobody was connected is told", told, seconds=20)
            print("dashboard: comes back: ok")
        finally:
            if browser:
                browser.close()
            stage.close()


def viewers(binary):
    """Who shows no token is asked for one; a viewer is offered no change."""
    with tempfile.TemporaryDirectory() as folder:
        stage, browser = Stage(binary, folder), None
        try:
            digest = hashlib.sha256(b"look").hexdigest()
            tokens = {"tokens": [{"name": "eve", "role": "viewer", "sha256": digest}]}
            (Path(folder) / "tokens.yaml").write_text(json.dumps(tokens))
            backends = [stage.backend("b1")]
            stage.run([{"name": "web", "backends": backends}], {"tokens_file": f"{folder}/tokens.yaml"})
            browser = Browser(folder)
            browser.size(1400, 1000)
            browser.open(stage.page)
            browser.until("it asks for a token", "return document.getElementById('sign-in').open")
            browser.type("#sign-in input", "look")
            browser.click("#sign-in button.main")
            browser.until("the page is loaded", LOADED)
            browser.until("the backend is shown", f"return (function () {{ {ROW} }})('b1') !== ''")
            changes = "return document.querySelectorAll('[data-do=draining], [data-do=weight], [data-do=strategy]').length"
            expect(browser.run(changes) == 0, "a viewer is offered changes")
            kept = "return [sessionStorage.length, localStorage.getItem('evenkeel.token')]"
            expect(browser.run(kept) == [1, None], "the token is kept in the tab only")
            print("dashboard: viewers: ok")
        finally:
            if browser:
                browser.close()
            stage.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", nargs="?", type=Path, default=BINARY)
    parser.add_argument("--pictures", type=Path, help="folder for screenshots, wide and narrow, light and dark")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    try:
        three_backends(binary, arguments.pictures)
        many_backends(binary, arguments.pictures)
        migrations(binary)
        viewers(binary)
    except (AssertionError, RuntimeError) as error:
        sys.exit(f"dashboard: {error}")


if __name__ == "__main__":
    main()
