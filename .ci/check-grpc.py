#!/usr/bin/env python3
"""gRPC through evenkeel with a real client and real servers (grpcio): balancing by call, the four
kinds of calls, trailers, deadlines, retries, health checks. Usage: check-grpc.py PATH-TO-EVENKEEL"""

import collections
import concurrent.futures
import os
import subprocess
import sys
import tempfile
import threading
import time

import grpc

CALL = "/test.Echo/"
raw = lambda data: data


def serve(name, behaviour):
    """A server that says who it is in its first metadata."""

    def begin(context):
        context.send_initial_metadata((("x-backend", name),))
        behaviour["calls"][name] += 1

    def unary(request, context):
        if request == b"unavailable" and behaviour["refuses"] == name:
            behaviour["refused"] += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not me")
        if request == b"internal":
            context.abort(grpc.StatusCode.INTERNAL, "broken: 100%")
        begin(context)
        if request == b"deadline":
            return str(context.time_remaining()).encode()
        if request == b"sleep":
            behaviour["released"].wait(10)
        context.set_trailing_metadata((("x-trailer", "kept"),))
        return name.encode() + b":" + request

    def server_stream(request, context):
        begin(context)
        for count in range(int(request)):
            yield str(count).encode() * 1000
        context.set_trailing_metadata((("x-trailer", "kept"),))

    def client_stream(requests, context):
        begin(context)
        return str(sum(len(request) for request in requests)).encode()

    def both(requests, context):
        begin(context)
        for request in requests:
            yield b"echo " + request

    health = {"serving": True}

    def check(_request, _context):
        # grpc.health.v1.HealthCheckResponse: field 1, SERVING = 1, NOT_SERVING = 2.
        return b"\x08\x01" if health["serving"] else b"\x08\x02"

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, raw, raw),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream, raw, raw),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream, raw, raw),
        "Both": grpc.stream_stream_rpc_method_handler(both, raw, raw),
    }
    probes = {"Check": grpc.unary_unary_rpc_method_handler(check, raw, raw)}
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=40))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("test.Echo", handlers),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", probes),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port, health


def wait_for(what, condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"waited in vain for {what}")
        threading.Event().wait(0.05)


def main(evenkeel):
    behaviour = {
        "calls": collections.Counter(),
        "refuses": "",
        "refused": 0,
        "released": threading.Event(),
    }
    servers = {name: serve(name, behaviour) for name in ("a", "b", "c")}
    free = subprocess.run(
        [sys.executable, "-c",
         "import socket; s=socket.socket(); s.bind(('127.0.0.1',0)); print(s.getsockname()[1])"],
        capture_output=True, text=True, check=True)
    port = int(free.stdout)
    backends = "\n".join(
        f'      - {{ name: {name}, address: "http://127.0.0.1:{port}" }}'
        for name, (_, port, _) in servers.items())
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "grpc.yaml")
    with open(path, "w") as config:
        config.write(f"""
version: 1
listeners: [{{ name: web, bind: "127.0.0.1:{port}" }}]
routes: [{{ name: grpc, match: {{ path_prefix: /test.Echo }}, pool: grpc }}]
pools:
  - name: grpc
    protocol: h2
    backends:
{backends}
    health: {{ type: grpc, service: "", interval: 200ms, timeout: 1s, healthy_threshold: 1, unhealthy_threshold: 1 }}
    circuit_breaker: {{ enabled: false }}
admin: {{ bind: "127.0.0.1:0" }}
workers: 1
logging: {{ file: "{directory}/log" }}
""")
    proxy = subprocess.Popen([evenkeel, "run", "-c", path])
    try:
        check_calls(port, behaviour, servers)
    finally:
        proxy.terminate()
        code = proxy.wait(20)
        for server, _, _ in servers.values():
            server.stop(0)
    assert code == 0, f"evenkeel ended with {code}"
    print("gRPC: all calls went as they should")


def check_calls(port, behaviour, servers):
    channel = grpc.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)])
    grpc.channel_ready_future(channel).result(10)
    unary = channel.unary_unary(CALL + "Unary", raw, raw)

    wait_for("three healthy servers", lambda: len({unary(b"x")[:1] for _ in range(9)}) == 3)

    behaviour["calls"].clear()
    for _ in range(300):
        unary(b"x")
    assert dict(behaviour["calls"]) == {"a": 100, "b": 100, "c": 100}, behaviour["calls"]

    reply, call = unary.with_call(b"hello")
    assert reply.endswith(b":hello"), reply
    assert ("x-trailer", "kept") in [tuple(pair) for pair in call.trailing_metadata()]

    streamed = list(channel.unary_stream(CALL + "ServerStream", raw, raw)(b"200"))
    assert len(streamed) == 200 and streamed[7] == b"7" * 1000
    total = channel.stream_unary(CALL + "ClientStream", raw, raw)(iter([b"x" * 5000] * 100))
    assert total == b"500000", total

    # Full duplex: each question waits for the answer to the one before.
    turn = threading.Semaphore(1)

    def questions():
        for count in range(20):
            assert turn.acquire(timeout=10)
            yield str(count).encode()

    for count, answer in enumerate(channel.stream_stream(CALL + "Both", raw, raw)(questions())):
        assert answer == b"echo " + str(count).encode()
        turn.release()

    try:
        unary(b"internal")
        raise SystemExit("INTERNAL was lost")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INTERNAL, error
        assert error.details() == "broken: 100%", error.details()

    remaining = float(unary(b"deadline", timeout=5))
    assert 0 < remaining < 5.5, remaining
    try:
        unary(b"sleep", timeout=0.3)
        raise SystemExit("the deadline was lost")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    behaviour["released"].set()

    behaviour["refuses"] = "b"
    for _ in range(9):
        assert unary(b"unavailable").endswith(b":unavailable")
    assert behaviour["refused"] >= 3, behaviour["refused"]
    behaviour["refuses"] = ""

    try:
        channel.unary_unary("/no.Route/X", raw, raw)(b"x")
        raise SystemExit("a call without a route got an answer")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

    for _, _, health in servers.values():
        health["serving"] = False

    def is_unavailable():
        try:
            unary(b"x")
            return False
        except grpc.RpcError as error:
            return error.code() == grpc.StatusCode.UNAVAILABLE

    wait_for("no healthy server", is_unavailable)
    servers["c"][2]["serving"] = True
    wait_for("one healthy server", lambda: not is_unavailable())
    assert {unary(b"x")[:1] for _ in range(6)} == {b"c"}
    channel.close()


main(sys.argv[1])
