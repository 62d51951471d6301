#!/usr/bin/env python3
"""Makes a site of the documentation, in target/site: every page, with search, readable offline.

    scripts/site.py          needs mkdocs (pip install mkdocs==1.6.1)

The pages keep their places, so that links between docs/, the files at the root and those they point at
are the same as in the repository. A link to a page or a heading that is not there is an error.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAGE = ROOT / "target" / "site-pages"
SITE = ROOT / "target" / "site"
PROJECT = {
    "In production": "README-DEPLOYMENT.md",
    "Measured": "bench/RESULTS.md",
    "Security policy": "SECURITY.md",
    "Threat model": "THREAT_MODEL.md",
    "Architecture": "ARCHITECTURE.md",
    "Glossary": "GLOSSARY.md",
    "Style": "STYLE.md",
    "Contributing": "CONTRIBUTING.md",
    "Changelog": "CHANGELOG.md",
}


def navigation():
    """The sections of docs/SUMMARY.md, then the pages at the root."""
    nav, section = [{"evenkeel": "README.md"}], None
    for line in (ROOT / "docs" / "SUMMARY.md").read_text().splitlines():
        heading, link = re.match(r"# (.+)", line), re.search(r"\[(.+?)\]\((.+?)\)", line)
        if heading and heading[1] != "Summary":
            section = []
            nav.append({heading[1]: section})
        elif link:
            page = {link[1].replace("evenkeel", "Every page"): f"docs/{link[2]}"}
            (nav if section is None else section).append(page)
    nav.append({"The project": [{title: page} for title, page in PROJECT.items()]})
    return nav


def targets(page):
    """Files that a page links to."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s#]+)", text):
        if not re.match(r"[a-z]+:", link):
            yield (page.parent / link).resolve()


def stage():
    shutil.rmtree(STAGE, ignore_errors=True)
    pages = {*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "SUMMARY.md"}
    waiting, copied = list(pages), set()
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


def main():
    stage()
    settings = {
        "site_name": "evenkeel",
        "docs_dir": str(STAGE),
        "site_dir": str(SITE),
        "use_directory_urls": False,
        "theme": {"name": "mkdocs", "highlightjs": False},
        "plugins": ["search"],
        "markdown_extensions": ["tables", "fenced_code", "toc"],
        "validation": {"nav": {"omitted_files": "info"}, "links": {"anchors": "warn", "unrecognized_links": "info"}},
        "nav": navigation(),
    }
    # What is JSON is YAML too.
    file = ROOT / "target" / "mkdocs.yml"
    file.write_text(json.dumps(settings, indent=1))
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--clean", "-f", str(file)]
    code = subprocess.run(words).returncode
    if code == 0:
        print(f"site: {len(list(SITE.rglob('*.html')))} pages in {SITE}")
    sys.exit(code)


main()
