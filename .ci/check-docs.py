#!/usr/bin/env python3
"""Runs what the documentation tells its readers to type, and follows its links.

Every ```sh block of the pages below is run, in order, in one shell for each page, in a network of its
own if that can be had (root). A command that would stay in the foreground (run, demo, testserver) is
started, and the next one follows as soon as it serves; starting it again ends the one before, as a
reader's Ctrl-C would. `cargo` stands for the program that is already built.

    check-docs.py          needs bash, curl, and the program ($EVENKEEL_BIN or target/release)
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS = 300
# Page, and whether it speaks of a checkout (then its commands run there).
PAGES = [
    ("README.md", False),
    ("docs/quick-start.md", False),
    ("docs/guide-bench.md", False),
    ("README-DEPLOYMENT.md", True),
]

EVENKEEL = r"""#!/usr/bin/env bash
# Stands in for the program: what would stay in the foreground goes to the background.
set -u
kind="${1:-run}" name="${1:-run}"
case "$kind" in
  run | demo) name=balancer ready='"event":"started"|curl -i' ;;
  testserver)
    ready='listens on'
    for word in "$@"; do case "$word" in *:[0-9]*) name="backend-${word##*:}" ;; esac; done ;;
  *) exec "$REAL" "$@" ;;
esac
if [ -f "$STATE/$name" ]; then
  kill "$(cat "$STATE/$name")" 2>/dev/null
  while kill -0 "$(cat "$STATE/$name")" 2>/dev/null; do sleep 0.05; done
fi
"$REAL" "$@" >"$STATE/$name.log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$STATE/$name"
for _ in $(seq 300); do
  grep -qE "$ready" "$STATE/$name.log" && exit 0
  kill -0 "$pid" 2>/dev/null || break
  sleep 0.05
done
cat "$STATE/$name.log" >&2
exit 1
"""

CARGO = r"""#!/usr/bin/env bash
# What Cargo would build is there already.
case "$*" in
  "run --release -- "*) shift 3; exec evenkeel "$@" ;;
  "build --release" | "test --workspace" | "install "*) exit 0 ;;
esac
echo "check-docs: no stand-in for: cargo $*" >&2
exit 1
"""


def blocks(page):
    text = (ROOT / page).read_text()
    return re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)


def script(page):
    lines = ["set -euo pipefail", "ip link set lo up 2>/dev/null || true"]
    for number, block in enumerate(blocks(page), 1):
        # The stand-in goes to the background itself, once it serves.
        block = re.sub(r"^(evenkeel .*) &$", r"\1", block, flags=re.M)
        lines += [f"echo '--- block {number}' >&2", block.rstrip()]
    return "\n".join(lines) + "\n"


def dead_links():
    """Links to files that are not there."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
            if not re.match(r"[a-z]+:|#", target):
                if not (page.parent / target.split("#")[0]).exists():
                    yield f"{page.relative_to(ROOT)}: {target} is not there"


def unlisted():
    """Pages that the summary of the site does not list."""
    docs = ROOT / "docs"
    listed = set(re.findall(r"\]\(([^)]+)\)", (docs / "SUMMARY.md").read_text()))
    return sorted({str(page.relative_to(docs)) for page in docs.rglob("*.md")} - {"SUMMARY.md"} - listed)


def own_network():
    """Words that give a command a network of its own, where every port is free."""
    words = ["unshare", "--net", "--"]
    tried = subprocess.run([*words, "true"], capture_output=True) if shutil.which("unshare") else None
    return words if tried and tried.returncode == 0 else []


def run_page(page, in_checkout):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for part in ("bin", "state", "home"):
            (folder / part).mkdir()
        for name, text in (("evenkeel", EVENKEEL), ("cargo", CARGO)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        real = os.environ.get("EVENKEEL_BIN") or ROOT / "target" / "release" / "evenkeel"
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("EVENKEEL")},
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "REAL": str(real),
            "STATE": str(folder / "state"),
            "EVENKEEL_BIN": str(real),
            "EVENKEEL_RUN_DIR": str(folder / "state" / "backends"),
        }
        try:
            ran = subprocess.run(
                [*own_network(), "bash", "-c", script(page)],
                cwd=ROOT if in_checkout else folder / "home",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as late:
            return f"not done after {SECONDS} s: {late.output}"
        finally:
            for file in (folder / "state").iterdir():
                if file.is_file() and file.suffix != ".log":
                    subprocess.run(["kill", file.read_text().strip()], capture_output=True)
        return None if ran.returncode == 0 else f"exit code {ran.returncode}:\n{ran.stdout[-3000:]}"


def main():
    dead = list(dead_links())
    print("\n".join(dead) or "check-docs: links: hold")
    for page in unlisted():
        print(f"check-docs: note: docs/SUMMARY.md does not list {page}")
    failed = len(dead)
    for page, in_checkout in PAGES:
        count = len(blocks(page))
        wrong = run_page(page, in_checkout) if count else "no command in it"
        failed += wrong is not None
        print(f"check-docs: {page}: {count} blocks: {wrong or 'hold'}", flush=True)
    sys.exit(1 if failed else 0)


main()
