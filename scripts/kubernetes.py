#!/usr/bin/env python3
"""Makes the files of k8s/ from deployments/kubernetes/, or checks the manifests.

    scripts/kubernetes.py write      writes the files of k8s/
    scripts/kubernetes.py check      those are up to date; every object fits the schema of Kubernetes;
                                     names, labels, probes and rights agree; the configuration in each
                                     ConfigMap passes `evenkeel check`
    scripts/kubernetes.py chart HELM KUBECTL
                                     the same of what the chart of deployments/helm renders, with its
                                     own values and others; the kustomization gives the manifests

Both need PyYAML and kubernetes-validate, and the program ($EVENKEEL_BIN or target/release).
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deployments" / "kubernetes"
SINGLE = ROOT / "k8s" / "deployment.yaml"
SCALING = ROOT / "deployments" / "kubernetes-rights" / "scaling.yaml"
RIGHTS = ROOT / "k8s" / "rights.yaml"
# Of the account, only itself stands in the single file; its rights have a file of their own.
PARTS = ["rbac.yaml", "configmap.yaml", "deployment.yaml", "service.yaml", "hpa.yaml", "pdb.yaml"]
OTHER_NAMES = [("gobalancer", "go-loadbalancer"), ("GOBALANCER", "GO_LOADBALANCER")]
CHART = ROOT / "deployments" / "helm" / "evenkeel"
VERSIONS = ["1.31", "1.34"]
# Values that turn everything optional off or the other way.
OTHER_VALUES = """
image: { repository: registry.example/evenkeel, tag: "9" }
imagePullSecrets: [{ name: pull }]
existingTokens: mine
listeners:
  - { name: http, containerPort: 8080, port: 80 }
  - { name: dns, containerPort: 5353, port: 53, protocol: UDP }
service: { type: ClusterIP, annotations: { a: b } }
autoscaling: { enabled: false }
disruption: { enabled: false }
rbac: false
podAnnotations: { prometheus.io/scrape: "true" }
nodeSelector: { kubernetes.io/os: linux }
tolerations: [{ key: edge, operator: Exists }]
affinity: { nodeAffinity: {} }
env: [{ name: EVENKEEL__WORKERS, value: "2" }]
"""
WRONG_VALUES = ["image.nope=1", "config=", "listeners[0].containerPort=x", "tokens[0].role=root"]
HEADER = """\
# Everything in one file: kubectl apply -f k8s/deployment.yaml
# The same as deployments/kubernetes/ under other names, so that both can be applied; made from it by
# scripts/kubernetes.py.
"""


RIGHTS_HEADER = """\
# What discovery and the scaling of deployments may ask the API server; made by scripts/kubernetes.py:
#   kubectl apply -f k8s/rights.yaml
# The account's token has to be in the pod, too:
#   kubectl patch deployment go-loadbalancer -p \\
#     '{"spec":{"template":{"spec":{"automountServiceAccountToken":true}}}}'
"""
# What the account may do: (group, resource) and verbs; all but discovery only by name.
DISCOVERY = {
    ("discovery.k8s.io", "endpointslices"): {"get", "list", "watch"},
    ("coordination.k8s.io", "leases"): {"get", "update"},
}
SCALE = {("apps", "deployments/scale"): {"get", "patch"}}


def renamed(text):
    for old, new in OTHER_NAMES:
        text = text.replace(old, new)
    return text


def rights():
    roles = (FOLDER / PARTS[0]).read_text().split("---\n", 1)[1]
    return RIGHTS_HEADER + renamed(roles + "---\n" + SCALING.read_text())


def single():
    texts = [(FOLDER / part).read_text() for part in PARTS]
    texts[0] = texts[0].split("---\n")[0]
    text = "---\n".join(texts)
    text = "".join(line for line in text.splitlines(True) if not line.startswith("# tidy:"))
    return HEADER + renamed(text)


def objects(text):
    import yaml

    return [found for found in yaml.safe_load_all(text) if found]


def check_schema(found, where):
    import kubernetes_validate

    for version in VERSIONS:
        kubernetes_validate.validate(found, version, strict=True)
    return f"{where}: {found['kind']} {found['metadata']['name']}"


def one(all_objects, kind):
    matching = [found for found in all_objects if found["kind"] == kind]
    assert len(matching) == 1, f"{len(matching)} objects of kind {kind}"
    return matching[0]


def check_together(all_objects, name):
    """What the schema does not say."""
    for found in all_objects:
        assert found["metadata"]["name"].startswith(name), found["metadata"]["name"]
    deployment, service = one(all_objects, "Deployment"), one(all_objects, "Service")
    template = deployment["spec"]["template"]
    labels, pod = template["metadata"]["labels"], template["spec"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        one(all_objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items(), selector
    target = one(all_objects, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
    assert target == deployment["metadata"]["name"], target
    assert "replicas" not in deployment["spec"], "each apply would undo what the autoscaler has counted"
    assert pod["enableServiceLinks"] is False
    assert pod["serviceAccountName"] == one(all_objects, "ServiceAccount")["metadata"]["name"]
    (container,) = pod["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        get = container[probe]["httpGet"]
        assert get["path"] == path and get["port"] in ports, get
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert volumes == mounts, volumes ^ mounts
    known = {found["metadata"]["name"] for found in all_objects if found["kind"] in ("ConfigMap", "Secret")}
    for volume in pod["volumes"]:
        source = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
        assert source is None or source in known, source
    return container


def check_rights(all_objects, account, wanted):
    """The account may do just what is wanted."""
    roles = {found["metadata"]["name"]: found["rules"] for found in all_objects if found["kind"] == "Role"}
    allowed = {}
    for binding in all_objects:
        if binding["kind"] != "RoleBinding":
            continue
        assert [subject["name"] for subject in binding["subjects"]] == [account], binding
        for rule in roles.pop(binding["roleRef"]["name"]):
            (group,), (resource,) = rule["apiGroups"], rule["resources"]
            assert resource == "endpointslices" or rule.get("resourceNames"), rule
            allowed[group, resource] = set(rule["verbs"])
    assert not roles, f"bound to nobody: {roles}"
    assert allowed == wanted, allowed


def check_configuration(all_objects, container):
    """Lays the volumes out as in the pod, and lets the program read its configuration."""
    program = os.environ.get("EVENKEEL_BIN") or str(ROOT / "target" / "release" / "evenkeel")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for kind, field, place in (("ConfigMap", "data", "config"), ("Secret", "stringData", "tokens")):
            (folder / place).mkdir()
            for name, text in one(all_objects, kind)[field].items():
                text = text.replace("/etc/evenkeel/", f"{folder}/")
                (folder / place / name).write_text(text)
        words = [word.replace("/etc/evenkeel/", f"{folder}/") for word in container["args"]]
        assert words[0] == "run", words
        ran = subprocess.run([program, "check", *words[1:]], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.strip() or ran.stderr.strip()


def check():
    stored = SINGLE.read_text()
    assert stored == single(), "k8s/deployment.yaml is out of date: scripts/kubernetes.py write"
    apart = RIGHTS.read_text()
    assert apart == rights(), "k8s/rights.yaml is out of date: scripts/kubernetes.py write"
    for found in objects(apart):
        print(check_schema(found, "k8s/rights.yaml"))
    check_rights(objects(apart), "go-loadbalancer", DISCOVERY | SCALE)
    folder = "---\n".join((FOLDER / part).read_text() for part in PARTS)
    listed = objects((FOLDER / "Kustomization").read_text())[0]["resources"]
    assert sorted(listed) == sorted(PARTS), listed
    # What `kubectl apply -f` of the folder takes.
    taken = [found.name for found in FOLDER.iterdir() if found.suffix in (".yaml", ".yml", ".json")]
    assert sorted(taken) == sorted(PARTS), taken
    for text, name, where in (
        (folder, "gobalancer", "deployments/kubernetes"),
        (stored, "go-loadbalancer", "k8s/deployment.yaml"),
    ):
        all_objects = objects(text)
        for found in all_objects:
            print(check_schema(found, where))
        container = check_together(all_objects, name)
        check_rights(all_objects, name, DISCOVERY if name == "gobalancer" else {})
        print(f"{where}: {check_configuration(all_objects, container)}")


def output(*words, stdin=None):
    ran = subprocess.run(words, input=stdin, capture_output=True, text=True)
    assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def chart(helm, kubectl):
    output(helm, "lint", "--strict", str(CHART))
    render = [helm, "template", "web", str(CHART), "--namespace", "edge"]
    with_own = objects(output(*render))
    with_others = objects(output(*render, "--values", "-", stdin=OTHER_VALUES))
    for found in with_own + with_others:
        print(check_schema(found, "chart"))
    print(f"chart: {check_configuration(with_own, check_together(with_own, 'web-evenkeel'))}")
    check_rights(with_own, "web-evenkeel", DISCOVERY)
    scaling = objects(output(*render, "--set", "scales={app,other}"))
    print(*[check_schema(found, "chart") for found in scaling if found["kind"] == "Role"])
    check_rights(scaling, "web-evenkeel", DISCOVERY | SCALE)
    kinds = sorted(found["kind"] for found in with_others)
    assert kinds == ["ConfigMap", "Deployment", "Service", "ServiceAccount"], kinds
    pod = one(with_others, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/evenkeel:9"
    assert {"name": "tokens", "secret": {"secretName": "mine"}} in pod["volumes"]
    for wrong in WRONG_VALUES:
        ran = subprocess.run([*render, "--set", wrong], capture_output=True, text=True)
        assert ran.returncode != 0, f"taken as it is: {wrong}"
    key = lambda found: (found["kind"], found["metadata"]["name"])
    built = sorted(objects(output(kubectl, "kustomize", str(FOLDER))), key=key)
    written = sorted(objects("---\n".join((FOLDER / part).read_text() for part in PARTS)), key=key)
    assert built == written, "the kustomization gives something else than its files"
    asking = objects(output(kubectl, "kustomize", str(SCALING.parent)))
    print(*[check_schema(found, "kubernetes-rights") for found in asking])
    check_rights(asking, "gobalancer", DISCOVERY | SCALE)
    pod = one(asking, "Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    print("chart: holds; kustomization: holds")


def main():
    words = sys.argv[1:]
    if words == ["write"]:
        SINGLE.write_text(single())
        RIGHTS.write_text(rights())
    elif words == ["check"]:
        check()
    elif len(words) == 3 and words[0] == "chart":
        chart(*words[1:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
