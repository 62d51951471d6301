#!/usr/bin/env python3
"""The kubernetes driver of the autoscaler beside others who scale: a scripted API server over TLS, and two
evenkeels that share a lease. Needs root, for the folder where a pod has its account, and openssl.
Usage: check-replicas.py [PROGRAM]; else the release program."""

import http.server
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
SCALE = "/apis/apps/v1/namespaces/prod/deployments/app/scale"
RECOUNT_SECONDS = 10
PATIENCE_SECONDS = 30


class Api(http.server.BaseHTTPRequestHandler):
    """A deployment whose scale is read and patched; `refuses` is a status for each question."""

    replicas, refuses, patches = 1, None, []

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path != SCALE or self.headers.get("authorization") != "Bearer secret":
            return self.say(404, {"message": self.path})
        if Api.refuses:
            return self.say(Api.refuses, {"message": "scripted"})
        if self.command == "PATCH":
            Api.replicas = json.loads(body)["spec"]["replicas"]
            Api.patches.append(Api.replicas)
        return self.say(200, {"kind": "Scale", "spec": {"replicas": Api.replicas}})

    def say(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PATCH = answer


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def serve(work):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", work / "key.pem", "-out", work / "ca.crt"],
        check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(work / "ca.crt", work / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ACCOUNT.mkdir(parents=True)
    shutil.copy(work / "ca.crt", ACCOUNT / "ca.crt")
    (ACCOUNT / "token").write_text("secret")
    return server.server_address[1]


def get(url):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=5) as answer:
        return answer.read()


def until(what, holds):
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"check-replicas: {what}: not within {PATIENCE_SECONDS} s; {Api.replicas} of {Api.patches}")
        time.sleep(0.1)
    print(f"check-replicas: {what}")


def main():
    built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release/evenkeel"
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else built)
    if ACCOUNT.exists():
        sys.exit(f"check-replicas: {ACCOUNT} is there: this is a pod")
    work, children = pathlib.Path(tempfile.mkdtemp()), []
    try:
        api = serve(work)
        backend, *ports = free_ports(5)
        start = lambda *words, **env: children.append(
            subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env}))
        start("testserver", "--listen", f"127.0.0.1:{backend}")
        traffic, admins = ports[:2], ports[2:]
        for index in range(2):
            (work / f"{index}.yaml").write_text(f"""version: 1
listeners: [{{ bind: "127.0.0.1:{traffic[index]}" }}]
pools:
  - name: app
    backends: ["127.0.0.1:{backend}"]
    autoscale:
      min: 1
      max: 4
      interval: 1s
      requests_per_interval: 20
      scale_up: {{ window: 0s }}
      scale_down: {{ after: 1h }}
      lease: {{ file: {work}/lease }}
      driver: {{ type: kubernetes, namespace: prod, deployment: app }}
admin: {{ bind: "127.0.0.1:{admins[index]}" }}
logging: {{ access: {{ enabled: false }} }}
""")
            start("run", "-c", str(work / f"{index}.yaml"), KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT=str(api))

        def answers(index):
            try:
                return bool(get(f"http://127.0.0.1:{traffic[index]}/"))
            except OSError:
                return False

        def scaler(index):
            found = json.loads(get(f"http://127.0.0.1:{admins[index]}/api/v1/autoscalers"))["autoscalers"][0]
            return found["current"], found["desired"]

        until("both serve", lambda: answers(0) and answers(1))

        def load():
            for index in range(2):
                for _ in range(30):
                    get(f"http://127.0.0.1:{traffic[index]}/")

        def scales():
            load()
            return Api.replicas > 1

        until("one of them asks for another pod", scales)
        until("both know it", lambda: scaler(0)[0] == scaler(1)[0] == Api.replicas)
        time.sleep(2)
        Api.patches.clear()
        Api.replicas = 4
        until("both heed what somebody else has set", lambda: scaler(0) == scaler(1) == (4, 4))
        time.sleep(RECOUNT_SECONDS + 2)
        if Api.patches or Api.replicas != 4:
            sys.exit(f"check-replicas: what somebody else has set was undone: {Api.patches}")
        print("check-replicas: and nobody undoes it")
        troubles = lambda: subprocess.run(
            [program, "autoscale", "status", "--admin", f"http://127.0.0.1:{admins[0]}"], capture_output=True, text=True).stdout
        Api.refuses = 503
        until("an API server that fails is told", lambda: "503 scripted" in troubles())
        Api.refuses = None
        until("until it answers again", lambda: "503" not in troubles())
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait(30)
        shutil.rmtree(ACCOUNT, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    print("check-replicas: all holds")


main()
