#!/usr/bin/env python3
"""The two compose files say the same, and every file they mount is there."""

import pathlib
import subprocess
import os

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ["docker-compose.yml", "deployments/docker/docker-compose.yaml"]


def resolved(name):
    """A compose file with its relative paths made absolute."""
    file = ROOT / name
    document = yaml.safe_load(file.read_text())
    for service in document["services"].values():
        if "build" in service:
            service["build"]["context"] = str((file.parent / service["build"]["context"]).resolve())
        volumes = []
        for volume in service.get("volumes", []):
            source, rest = volume.split(":", 1)
            if source.startswith("."):
                source = (file.parent / source).resolve()
                assert source.exists(), f"{name}: {source} is missing"
            volumes.append(f"{source}:{rest}")
        service["volumes"] = volumes
    return document


def main():
    one, other = map(resolved, FILES)
    assert one == other, "the compose files differ"
    services = one["services"]
    assert {"evenkeel", "backend1", "backend2", "backend3", "prometheus", "grafana"} <= services.keys()
    program = os.environ.get("EVENKEEL_BIN") or str(ROOT / "target/release/evenkeel")
    subprocess.run([program, "check", "-c", ROOT / "deployments/docker/config/config.yaml"], check=True)
    for file in (ROOT / "deployments/docker").rglob("*.y*ml"):
        list(yaml.safe_load_all(file.read_text()))


main()
