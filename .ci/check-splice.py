#!/usr/bin/env python3
"""Shows by strace that the bytes of a TCP tunnel never enter the program: they are moved by splice,
and what read and write calls carry is what came while the tunnel was not busy.
Usage: check-splice.py PATH-TO-EVENKEEL. Needs strace and the right to trace."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

MIB = 1 << 20
PAYLOAD = 64 * MIB
# Each byte goes in and out, down and up.
MOVED = 4 * PAYLOAD
# A direction is copied until much comes at once, and again while little does: so much of it may be, and a program
# that copies comes to the whole.
MOST_COPIED = MOVED // 4
COPYING = "read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg,pread64,pwrite64"


def send(stream):
    piece = bytes(MIB)
    for _ in range(PAYLOAD // MIB):
        stream.sendall(piece)


def take(stream):
    left = PAYLOAD
    while left > 0:
        left -= len(stream.recv(MIB)) or sys.exit("the tunnel was cut off")


def serve(listener):
    """Sends the payload to the one who comes, then hears as much."""
    client, _ = listener.accept()
    with client:
        client.settimeout(60)
        send(client)
        take(client)


def carry(port):
    """The payload down and up through the tunnel."""
    with socket.create_connection(("127.0.0.1", port), 10) as stream:
        stream.settimeout(60)
        take(stream)
        send(stream)


def port_of(running):
    """Where the tunnel begins, as its log tells once it serves."""
    for line in running.stdout:
        event = json.loads(line)
        if event["event"] == "started":
            return int(event["listeners"].rsplit(":", 1)[1])
    sys.exit("it did not start")


def main():
    program = os.path.abspath(sys.argv[1])
    backend = socket.create_server(("127.0.0.1", 0))
    with tempfile.TemporaryDirectory() as folder:
        config, trace = f"{folder}/evenkeel.yaml", f"{folder}/trace"
        with open(config, "w") as file:
            file.write(
                f"version: 1\nlisteners: [{{ name: t, bind: '127.0.0.1:0', protocol: tcp, pool: b }}]\n"
                f"pools: [{{ name: b, backends: ['127.0.0.1:{backend.getsockname()[1]}'], health: {{ type: none }} }}]\n"
                "admin: { bind: '127.0.0.1:0' }\nlogging: { access: { enabled: false } }\n"
            )
        running = subprocess.Popen([program, "run", "-c", config], stdout=subprocess.PIPE)
        tracer = None
        try:
            port = port_of(running)
            command = ["strace", "-f", "-e", f"trace=splice,{COPYING}", "-e", "signal=none", "-s", "0", "-o", trace]
            tracer = subprocess.Popen(command + ["-p", str(running.pid)], stderr=subprocess.PIPE, text=True)
            attached = tracer.stderr.readline()
            if "attached" not in attached:
                sys.exit(f"strace: {attached}")
            server = threading.Thread(target=serve, args=(backend,))
            server.start()
            carry(port)
            server.join()
        finally:
            running.terminate()
            running.wait(30)
            if tracer:
                tracer.wait(30)
        spliced, copied = 0, 0
        with open(trace) as lines:
            for line in lines:
                call = re.search(r"(\w+)(?:\(| resumed>).* = (\d+)$", line)
                if call and call[1] == "splice":
                    spliced += int(call[2])
                elif call:
                    copied += int(call[2])
    print(f"of {MOVED >> 20} MiB in and out: {spliced >> 20} MiB by splice, {copied >> 10} KiB by read and write")
    if spliced + copied < MOVED or copied > MOST_COPIED:
        sys.exit("too few by splice, or too many copied")


main()
