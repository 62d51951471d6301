#!/usr/bin/env python3
"""What can be held of the PowerShell scripts where there is no `pwsh`: their syntax, by a grammar, and
that the program knows the commands and flags that they call it with. Needs tree-sitter,
tree-sitter-powershell and the program ($EVENKEEL_BIN or target/release).

    .ci/check-powershell.py
"""

import os
import pathlib
import subprocess
import sys

import tree_sitter_powershell
from tree_sitter import Language, Parser

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("EVENKEEL_BIN") or ROOT / "target" / "release" / "evenkeel"
# Variables that hold the program.
NAMES = ("$evenkeel", "$program")
# Stands for whatever a variable may hold; a duration, a name and a path at once.
ANY = "1s"


def nodes(node):
    yield node
    for child in node.children:
        yield from nodes(child)


def faults(tree):
    return [node for node in nodes(tree) if node.is_error or node.is_missing]


def call(node):
    """The words that a command gives the program; none, if it calls another."""
    name = node.child_by_field_name("command_name")
    if node.type != "command" or name is None or name.text.decode() not in NAMES:
        return []
    elements = node.child_by_field_name("command_elements")
    words = [child for child in elements.children if child.type != "command_argument_sep"]
    plain = ("generic_token", "command_parameter")
    return [word.text.decode() if word.type in plain else ANY for word in words]


def main():
    listed = subprocess.run(["git", "ls-files", "*.ps1"], cwd=ROOT, capture_output=True, text=True, check=True)
    scripts = listed.stdout.split()
    assert scripts, "there is no script"
    parser = Parser(Language(tree_sitter_powershell.language()))
    assert faults(parser.parse(b"if ($x { }\n").root_node), "the grammar takes everything"
    wrong, calls = [], 0
    for script in scripts:
        tree = parser.parse((ROOT / script).read_bytes()).root_node
        for fault in faults(tree):
            place = f"{script}:{fault.start_point[0] + 1}:{fault.start_point[1] + 1}"
            wrong.append(f"{place}: {fault.type}: {fault.text.decode()[:60]!r}")
        for node in nodes(tree):
            words = call(node)
            if not words:
                continue
            calls += 1
            # What stands before --help is read before it.
            ran = subprocess.run([PROGRAM, *words, "--help"], capture_output=True, text=True)
            if ran.returncode != 0:
                wrong.append(f"{script}:{node.start_point[0] + 1}: {' '.join(words)}: {ran.stderr.strip()}")
    assert calls, "nobody calls the program"
    print(f"check-powershell: {len(scripts)} scripts, {calls} calls")
    sys.exit("\n".join(wrong) if wrong else None)


if __name__ == "__main__":
    main()
