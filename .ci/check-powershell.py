#!/usr/bin/env python3
"""The syntax of every PowerShell script, by a grammar: where there is no `pwsh` it is all that can be
held. Needs tree-sitter and tree-sitter-powershell.

    .ci/check-powershell.py
"""

import pathlib
import subprocess
import sys

import tree_sitter_powershell
from tree_sitter import Language, Parser

ROOT = pathlib.Path(__file__).resolve().parent.parent


def faults(node):
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        yield from faults(child)


def main():
    listed = subprocess.run(["git", "ls-files", "*.ps1"], cwd=ROOT, capture_output=True, text=True, check=True)
    scripts = listed.stdout.split()
    assert scripts, "there is no script"
    parser = Parser(Language(tree_sitter_powershell.language()))
    assert list(faults(parser.parse(b"if ($x { }\n").root_node)), "the grammar takes everything"
    wrong = [
        f"{script}:{fault.start_point[0] + 1}:{fault.start_point[1] + 1}: {fault.type}: {fault.text.decode()[:60]!r}"
        for script in scripts
        for fault in faults(parser.parse((ROOT / script).read_bytes()).root_node)
    ]
    sys.exit("\n".join(wrong) if wrong else None)


if __name__ == "__main__":
    main()
