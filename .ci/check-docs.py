#!/usr/bin/env python3
"""Runs what the documentation tells its readers to type, and follows its links.

Every ```sh block of every page is run, in order, in one shell for each page, in a network of its
own if that can be had (root). A command that would stay in the foreground (run, demo, testserver) is
started, and the next one follows as soon as it serves; starting it again ends the one before, as a
reader's Ctrl-C would. `cargo` stands for the program that is already built. In a ```console block each
`$ COMMAND` is run, and must print what stands below it: `…` is any text or, alone, any lines, and
numbers with a point and times may be others.

A ```yaml or ```toml block must be what `evenkeel check` takes, as a file or at one of HOMES in one, or a plan;
what a file lacks around it, and files that it names, need not be there.

What readers do not see, a page says in a comment:

    <!-- run                  these lines are run in their turn
    COMMANDS
    -->
    <!-- file NAME -->        the next block is this file
    <!-- not run: REASON -->  the next console block is not run: another system, a terminal, minutes
    <!-- of KIND -->          the next block is the file of another program, or not a configuration

    check-docs.py [PAGE]…  needs bash, curl, and the program ($EVENKEEL_BIN or target/release)
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS = 300
# It speaks of a checkout: its commands run there.
IN_CHECKOUT = ["README-DEPLOYMENT.md"]

EVENKEEL = r"""#!/usr/bin/env bash
# Stands in for the program: what would stay in the foreground goes to the background.
set -u
kind="${1:-run}" name="${1:-run}"
# What an autoscaler starts is its own.
[ "$(cat "/proc/$PPID/comm")" = evenkeel ] && exec "$REAL" "$@"
case "$kind" in
  run | demo) name=balancer ready='"event":"started"|curl -i|is ready to accept' ;;
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
log="$STATE/$name.log"
[ -f "/proc/$$/fd/1" ] && log="$(readlink "/proc/$$/fd/1")"
"$REAL" "$@" >"$log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$STATE/$name"
for _ in $(seq 300); do
  grep -qE "$ready" "$log" && exit 0
  kill -0 "$pid" 2>/dev/null || break
  sleep 0.05
done
tail -n 50 "$log" >&2
exit 1
"""

CARGO = r"""#!/usr/bin/env bash
# What Cargo would build is there already.
case "$*" in
  "run --release -- "*) shift 3; exec evenkeel "$@" ;;
  "build --release" | "test --workspace" | "xtask "* | "install "*) exit 0 ;;
  "metadata "*) exec "$REAL_CARGO" "$@" ;;
esac
echo "check-docs: no stand-in for: cargo $*" >&2
exit 1
"""


# Reads what a command printed, and compares it with the page: transcript FILE <<'END'.
TRANSCRIPT = r"""#!/usr/bin/env python3
import re, sys

def pattern(line):
    if line == "…":
        return r"(?:.*\n)*?"
    line = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "\0", line)
    line = re.sub(r"\d+\.\d+(?![\d.])|\d+(?= s\b)", "\1", line)
    line = re.escape(line).replace("…", ".*").replace("\0", r"\S+Z").replace("\1", r"\d+(?:\.\d+)?")
    return line + r" *\n"

said, page = open(sys.argv[1]).read(), sys.stdin.read()
if not re.fullmatch("".join(map(pattern, page.splitlines())), said):
    sys.exit(f"the page says:\n{page}the command said:\n{said}")
"""

STEP = re.compile(
    r"^```sh\n(?P<block>.*?)^```$"
    r"|^<!-- run\n(?P<hidden>.*?)^-->$"
    r"|^<!-- file (?P<name>\S+) -->\n+```\w*\n(?P<text>.*?)^```$"
    r"|^(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?```console\n(?P<console>.*?)^```$",
    re.M | re.S,
)
CONFIGURATION = re.compile(r"^(?:<!-- (?P<mark>of) [^\n]+ -->\n+)?```(?P<form>yaml|toml)\n(?P<text>.*?)^```$", re.M | re.S)
# Where a part of a file may belong.
HOMES = [
    ('listeners:\n  - bind: ":0"\n', 4),
    ("routes:\n  - name: web\n", 4),
    ("pools:\n  - name: web\n", 4),
    ("pools:\n  - name: web\n    autoscale:\n", 6),
    ("pools:\n  - name: web\n    autoscale:\n      driver: { type: exec, command: [\"true\"] }\n", 6),
]
# What a part may lack.
LACKS = re.compile(r"is missing|cannot read .*No such file|unknown pool|names no pool")


def steps(page):
    return list(STEP.finditer((ROOT / page).read_text()))


def runs(step):
    return step["block"] or (step["console"] and not step["reason"])


def blocks(page):
    return [step for step in steps(page) if runs(step)]


def overlooked():
    """Commands that are neither run nor said not to be."""
    for page in pages():
        rest = STEP.sub("", (ROOT / page).read_text())
        without = [step["console"] for step in blocks(page) if step["console"] and step["console"][:2] != "$ "]
        for line in [*re.findall(r"^\$ .+", rest, re.M), *without]:
            yield f"check-docs: {page}: not run, and not said to be: {line.splitlines()[0]}"


def not_run():
    """Blocks that are for other places, each with its reason."""
    for page in pages():
        for step in steps(page):
            if step["reason"]:
                yield f"{page}: {step['console'].splitlines()[0]}: {step['reason']}"


def transcript(text):
    """Each command, and what it is to print."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, said = part.partition("\n")
        yield f"{{ {command}\n}} >\"$STATE/said\" 2>&1 || true"
        yield f"transcript \"$STATE/said\" <<'END-OF-TEXT'\n{said}END-OF-TEXT"


def faults(words, text, form, folder):
    file = folder / f"block.{form}"
    file.write_text(text)
    ran = subprocess.run([str(program()), *words, str(file)], capture_output=True, text=True)
    said = ran.stderr.splitlines()
    return [line for line in said if line.startswith(f"{file}:") and not LACKS.search(line)] if ran.returncode else []


def faults_anywhere(text, form, folder):
    """Faults of a block as a file; if it is none, as a plan or as a part of a file."""
    check = ("check", "-c")
    as_file = faults(check, text, form, folder)
    if "no known form" not in "".join(as_file):
        return as_file
    as_plan = faults(("migrate", "plan"), text, form, folder)
    if not as_plan:
        return []
    parts = (around + textwrap.indent(text, " " * indent) for around, indent in HOMES)
    return min((faults(check, part, form, folder) for part in parts), key=len)


def wrong_configurations():
    """Configurations that `evenkeel check` does not take."""
    with tempfile.TemporaryDirectory() as folder:
        for page in sorted((ROOT / "docs").rglob("*.md")):
            for block in CONFIGURATION.finditer(page.read_text()):
                text = textwrap.dedent(block["text"])
                found = [] if block["mark"] else faults_anywhere(text, block["form"], pathlib.Path(folder))
                for line in found:
                    yield f"{page.relative_to(ROOT)}: {text.splitlines()[0]!r}…: {line.split(':', 1)[1]}"


def program():
    return pathlib.Path(os.environ.get("EVENKEEL_BIN") or ROOT / "target" / "release" / "evenkeel").resolve()


def script(page):
    lines = ["set -euo pipefail", "ip link set lo up 2>/dev/null || true"]
    for number, step in enumerate(steps(page), 1):
        if step["reason"]:
            continue
        if step["name"]:
            block = f"cat > {step['name']} <<'END-OF-FILE'\n{step['text']}END-OF-FILE\n"
        elif step["console"]:
            block = "\n".join(transcript(step["console"]))
        else:
            block = step["block"] or step["hidden"]
        # The stand-in goes to the background itself, once it serves.
        block = re.sub(r"^(evenkeel (?:run|demo|testserver)\b.*) &$", r"\1", block, flags=re.M)
        lines += [f"echo '--- step {number}' >&2", block.rstrip()]
    return "\n".join(lines) + "\n"


def pages():
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "automation").glob("*.md")]
    return sorted(str(page.relative_to(ROOT)) for page in found)


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
        for name, text in (("evenkeel", EVENKEEL), ("cargo", CARGO), ("transcript", TRANSCRIPT)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        real = program()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("EVENKEEL")},
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "ROOT": str(ROOT),
            "REAL": str(real),
            "REAL_CARGO": shutil.which("cargo") or "cargo",
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
    passed_over = list(overlooked())
    print(*passed_over, sep="\n", end="\n" if passed_over else "")
    wrong = list(wrong_configurations())
    print("\n".join(wrong) or "check-docs: configurations: hold")
    print("check-docs: not run here:", *not_run(), sep="\n  ")
    failed = len(dead) + len(forgotten) + len(passed_over) + len(wrong)
    for page in sys.argv[1:] or [page for page in pages() if blocks(page)]:
        count = len(blocks(page))
        wrong = run_page(page, page in IN_CHECKOUT)
        failed += wrong is not None
        print(f"check-docs: {page}: {count} blocks: {wrong or 'hold'}", flush=True)
    sys.exit(1 if failed else 0)


main()
