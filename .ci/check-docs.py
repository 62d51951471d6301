#!/usr/bin/env python3
"""Runs what the documentation tells its readers to type, and follows its links.

Every ```sh block of every page is run, in order, in one shell for each page, in a network of its
own if that can be had (root). A command that would stay in the foreground (run, demo, testserver) is
started, and the next one follows as soon as it serves; starting it again ends the one before, as a
reader's Ctrl-C would. `cargo` stands for the program that is already built. What needs another
program, root or a terminal stands in a ```console block, and is not run here.

What readers have already, a page says in a comment that they do not see:

    <!-- run             these lines are run in their turn
    COMMANDS
    -->
    <!-- file NAME -->   the next block is this file; if it is a configuration, it is checked

    check-docs.py [PAGE]…  needs bash, curl, and the program ($EVENKEEL_BIN or target/release)
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
# It speaks of a checkout: its commands run there.
IN_CHECKOUT = ["README-DEPLOYMENT.md"]

EVENKEEL = r"""#!/usr/bin/env bash
# Stands in for the program: what would stay in the foreground goes to the background.
set -u
kind="${1:-run}" name="${1:-run}"
case "$kind" in
  run | demo) name=balancer ready='"event":"started"|curl -i' ;;
  testserver)
    ready='listens on'
    for word in "$@"; do case "$word" in *:[0-9]*) name="backend-${word##*:}" ;; esac; done ;;
  # The one that takes over is ended with the others.
  upgrade) "$REAL" "$@" && cp /run/evenkeel.pid "$STATE/balancer"; exit ;;
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
  "build --release" | "test --workspace" | "xtask "* | "install "*) exit 0 ;;
esac
echo "check-docs: no stand-in for: cargo $*" >&2
exit 1
"""


STEP = re.compile(
    r"^```sh\n(?P<block>.*?)^```$"
    r"|^<!-- run\n(?P<hidden>.*?)^-->$"
    r"|^<!-- file (?P<name>\S+) -->\n+```\w*\n(?P<text>.*?)^```$",
    re.M | re.S,
)


def steps(page):
    return list(STEP.finditer((ROOT / page).read_text()))


def blocks(page):
    return [step["block"] for step in steps(page) if step["block"]]


def script(page):
    lines = ["set -euo pipefail", "ip link set lo up 2>/dev/null || true"]
    for number, step in enumerate(steps(page), 1):
        if step["name"]:
            block = f"cat > {step['name']} <<'END-OF-FILE'\n{step['text']}END-OF-FILE\n"
        else:
            block = step["block"] or step["hidden"]
        # The stand-in goes to the background itself, once it serves.
        block = re.sub(r"^(evenkeel (?:run|demo|testserver)\b.*) &$", r"\1", block, flags=re.M)
        lines += [f"echo '--- step {number}' >&2", block.rstrip()]
    return "\n".join(lines) + "\n"


def pages():
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "automation").glob("*.md")]
    names = sorted(str(page.relative_to(ROOT)) for page in found)
    return [name for name in names if blocks(name)]


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
    forgotten = unlisted()
    for page in forgotten:
        print(f"check-docs: docs/SUMMARY.md does not list {page}")
    failed = len(dead) + len(forgotten)
    for page in sys.argv[1:] or pages():
        count = len(blocks(page))
        wrong = run_page(page, page in IN_CHECKOUT) if count else "no command in it"
        failed += wrong is not None
        print(f"check-docs: {page}: {count} blocks: {wrong or 'hold'}", flush=True)
    sys.exit(1 if failed else 0)


main()
