#!/usr/bin/env python3
"""What the program is made of, from Cargo.lock and the sources that Cargo has at hand.

    components.py sbom TARGET        a CycloneDX 1.5 document
    components.py licences TARGET    the licence of every component, with its text, and of what is
                                     linked in besides: the standard library, and on some targets a C library
"""

import html
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = "evenkeel"
TEXTS = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
# Targets whose C library is part of the program, and the Debian package that it comes with.
C_LIBRARIES = {"-musl": ("musl", "musl-dev"), "-windows-gnu": ("MinGW-w64", "mingw-w64-x86-64-dev")}


def components(target):
    """Every package that ends up in the program, our own crates first."""
    words = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    told = json.loads(subprocess.run(words, cwd=ROOT, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    (root,) = [id for id, package in packages.items() if package["name"] == PROGRAM]
    found, waiting = set(), [root]
    while waiting:
        id = waiting.pop()
        if id in found:
            continue
        found.add(id)
        for edge in nodes[id]["deps"]:
            # Neither what tests need nor what only runs while building.
            if any(kind["kind"] is None for kind in edge["dep_kinds"]):
                waiting.append(edge["pkg"])
    listed = [packages[id] for id in found]
    return sorted(listed, key=lambda it: (it["source"] is not None, it["name"], it["version"]))


def sbom(target):
    def component(package):
        told = {
            "type": "application" if package["name"] == PROGRAM else "library",
            "bom-ref": f"{package['name']}@{package['version']}",
            "name": package["name"],
            "version": package["version"],
        }
        if package["license"]:
            told["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if package["source"]:
            told["purl"] = f"pkg:cargo/{package['name']}@{package['version']}"
        return told

    listed = components(target)
    (program,) = [component(package) for package in listed if package["name"] == PROGRAM]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": program},
        "components": [component(package) for package in listed if package["name"] != PROGRAM],
    }
    print(json.dumps(document, indent=2))


def standard_library():
    """The notices that come with the compiler, as text."""
    words = ["rustc", "--print", "sysroot"]
    sysroot = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    file = pathlib.Path(sysroot, "share/doc/rust/COPYRIGHT-library.html")
    if not file.is_file():
        sys.exit(f"components.py: {file} is not there: which licences the standard library has is not known")
    text = html.unescape(re.sub(r"<[^>]*>", "", file.read_text()))
    return re.sub(r"\n\s*\n", "\n\n", text).strip()


def c_library(package):
    file = pathlib.Path("/usr/share/doc", package, "copyright")
    if not file.is_file():
        sys.exit(f"components.py: {file} is not there: install {package}")
    return file.read_text().rstrip()


def licences(target):
    print("=" * 80, "The Rust standard library", "-" * 80, standard_library(), sep="\n")
    for end, (name, package) in C_LIBRARIES.items():
        if target.endswith(end):
            print("=" * 80, f"{name}, its C library", "-" * 80, c_library(package), sep="\n")
    for package in components(target):
        if package["source"] is None:
            continue
        print("=" * 80)
        print(f"{package['name']} {package['version']}: {package['license'] or 'see the text'}")
        folder = pathlib.Path(package["manifest_path"]).parent
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name.upper().startswith(TEXTS):
                print("-" * 80)
                print(path.read_text(errors="replace").rstrip())


def main():
    what = {"sbom": sbom, "licences": licences}
    if len(sys.argv) != 3 or sys.argv[1] not in what:
        sys.exit(__doc__)
    what[sys.argv[1]](sys.argv[2])


if __name__ == "__main__":
    main()
