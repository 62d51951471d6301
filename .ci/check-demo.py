#!/usr/bin/env python3
"""The README's first command: the demo starts, three backends answer, Ctrl-C ends it with 0."""

import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

COMMAND = ["cargo", "run", "--release", "--", "demo"]
START_SECONDS = 300  # Cargo may have to build first.
STOP_SECONDS = 15
REQUESTS = 12


def read_lines(pipe, lines):
    for line in pipe:
        lines.append(line)


def backend_names(address):
    """Who answers REQUESTS requests in a row."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    names = set()
    for _ in range(REQUESTS):
        with direct.open(address, timeout=5) as answer:
            names.add(answer.headers["X-Backend"])
    return names - {None}


def first_address(demo, lines):
    """The first address that the demo prints is the balancer's."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and demo.poll() is None:
        printed = re.search(r"http://127\.0\.0\.1:\d+/", "".join(lines))
        if printed:
            return printed.group()
        time.sleep(0.1)
    return None


def check(demo, lines):
    address = first_address(demo, lines)
    if address is None:
        return "no address printed"
    names = backend_names(address)
    if len(names) != 3:
        return f"expected answers of 3 backends, got {sorted(names)}"
    demo.send_signal(signal.SIGINT)
    try:
        code = demo.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        return f"still running {STOP_SECONDS} s after SIGINT"
    return None if code == 0 else f"exit code {code} after SIGINT, expected 0"


def main():
    demo = subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    threading.Thread(target=read_lines, args=(demo.stdout, lines), daemon=True).start()
    try:
        problem = check(demo, lines)
    except urllib.error.URLError as error:
        problem = f"the balancer did not answer: {error}"
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
    if problem:
        sys.exit(f"demo: {problem}; it printed:\n{''.join(lines)}")
    print("demo: three backends answered, SIGINT ended it with 0")


if __name__ == "__main__":
    main()
