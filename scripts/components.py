#!/usr/bin/env python3
"""What the program is made of, from Cargo.lock and the sources that Cargo has at hand.

    components.py sbom TARGET        a CycloneDX 1.5 document
    components.py licences TARGET    the licence of every component, with its text
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = "evenkeel"
TEXTS = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


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


def licences(target):
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
