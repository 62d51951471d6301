#!/usr/bin/env python3
"""What floods of HTTP/2 do to a good client beside them, and to the memory of the proxy.

    cargo build --release && bench/floods.py --bin target/release/evenkeel

One worker serves a hostile client and a good one. The hostile one opens a connection, floods it as fast as it is
taken, and opens the next as soon as that has ended, up to --rate a second; it plays F1 to F13 (rapid reset,
CONTINUATION, PING, header bombs, closed windows and so on) for --secs each. The good one sends a request each
millisecond over a kept connection. `quiet` is the good client while the hostile one burns as much of the other CPU
without a connection. Each flood is played --rounds times, each time behind quiet; `x quiet` is the median of their
ratios. Growth of memory is counted from a first round of all floods, since what is allocated once and kept is no harm.

With --realtime (root) the proxy, the good client and its backend go before everything else that the machine does
(SCHED_RR): then the good one waits for the proxy, and not for a turn of its own beside the hostile one.

Options: --secs N  --rounds N  --rate N  --only F5,F8  --max R and --max-mib M (exit 3 above; default 2 and 10)  --function (a
short run that only asks that the good client is always answered: for a debug binary)
Loopback only; bounded in time; ends every process that it starts.
"""
import argparse, os, select, signal, socket, statistics, struct, subprocess, sys, tempfile, time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
PROXY, SMALL, LARGE, ADMIN = 9611, 9612, 9613, 9614
PIECE = 64 * 1024
STREAMS = range(1, 8001, 2)
GOOD = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def block(*fields):
    parts = []
    for name, value in fields:
        parts += [b"\0", bytes([len(name)]), name, bytes([len(value)]), value]
    return b"".join(parts)


def head(method=b"GET", path=b"/h2"):
    return block((b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"))


def opening(stream, flags=END_STREAM, path=b"/h2", method=b"GET"):
    return frame(HEADERS, flags | END_HEADERS, stream, head(method, path))


def each(then):
    return b"".join(opening(stream) + then(stream) for stream in STREAMS)


def bomb(entry, references):
    request = b"\x82\x86\x84\x01\x01x"
    out = [frame(HEADERS, END_HEADERS | END_STREAM, 1, request + entry)]
    body = request + b"\xbe" * references
    for stream in range(3, 120, 2):
        parts = [body[at:at + 16000] for at in range(0, len(body), 16000)]
        for number, part in enumerate(parts):
            last = END_HEADERS if number == len(parts) - 1 else 0
            out.append(frame(CONTINUATION if number else HEADERS, last | (0 if number else END_STREAM), stream, part))
    return b"".join(out)


def floods():
    begun, word = frame(HEADERS, END_STREAM, 1, head()), lambda n: struct.pack(">I", n)
    post = opening(1, 0, method=b"POST")
    return {
        "F1 rapid reset": each(lambda s: frame(RST, 0, s, word(8))),
        "F2 made-you-reset": each(lambda s: frame(WINDOW, 0, s, word(0))),
        "F2 window overflow": each(lambda s: frame(WINDOW, 0, s, word(0x7fffffff)) * 2),
        "F3 CONTINUATION": begun + frame(CONTINUATION, 0, 1, bytes(1000)) * 60000,
        "F4 empty CONTINUATION": begun + frame(CONTINUATION, 0, 1) * 60000,
        "F5 SETTINGS": frame(SETTINGS, 0, 0) * 60000,
        "F5 PING": frame(PING, 0, 0, bytes(8)) * 60000,
        "F6 empty DATA": post + frame(DATA, 0, 1) * 60000,
        "F6 DATA byte by byte": post + frame(DATA, 0, 1, b"x") * 60000,
        "F7 PRIORITY": frame(PRIORITY, 0, 9, b"\0\0\0\3\1") * 60000,
        "F8 header bomb": bomb(b"\x40\x01a\x00", 3000),
        "F8 bomb, continued": bomb(b"\x40\x01a\x00", 32000),
        "F8 bomb of cookies": bomb(b"\x60\x03a=b", 3000),
        "F9 windows of zero": b"".join(opening(s, path=b"/large") for s in range(1, 200, 2)),
        "F10 no windows opened": b"".join(opening(s, path=b"/large") for s in range(1, 200, 2)) + frame(PING, 0, 0, bytes(8)) * 900,
        "F11 unknown frames": frame(0x42, 0, 0, b"what") * 60000,
        "F12 wrong lengths": frame(PING, 0, 0, bytes(7)) * 60000,
        "F13 errors unread": each(lambda s: frame(WINDOW, 0, s + 2, word(0))),
    }


def hostile(name, secs, rate):
    """Floods, connection after connection; says how many there were."""
    until, connections, sent = time.time() + secs, 0, 0
    flood = floods().get(name)
    while time.time() < until:
        if flood is None:
            continue
        began = time.time()
        stream = socket.create_connection(("127.0.0.1", PROXY), 5)
        stream.setblocking(False)
        connections += 1
        left = memoryview(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + flood)
        try:
            while time.time() < until:
                readable, writable, _ = select.select([stream], [stream] if left else [], [], 0.05)
                if readable and not stream.recv(PIECE):
                    break
                if writable:
                    count = stream.send(left[:PIECE])
                    left, sent = left[count:], sent + count
                elif not left and time.time() > began + 1:
                    break
        except OSError:
            pass
        stream.close()
        time.sleep(max(0, began + 1 / rate - time.time()))
    print(connections, sent)


def good(secs):
    """Milliseconds of each request."""
    took, until = [], time.time() + secs
    with socket.create_connection(("127.0.0.1", PROXY), 5) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.settimeout(10)
        while time.time() < until:
            began = time.perf_counter()
            stream.sendall(GOOD)
            answer = b""
            while not answer.endswith(b"\r\n\r\nok"):
                more = stream.recv(PIECE)
                if not more:
                    sys.exit(f"the good client was cut off behind {answer!r}")
                answer += more
            took.append((time.perf_counter() - began) * 1000)
            if not answer.startswith(b"HTTP/1.1 200"):
                sys.exit(f"the good client got {answer!r}")
            time.sleep(0.001)
    return took


def backend(port):
    """Answers `/large` with much, and everything else with two bytes."""
    import threading
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)

    def serve(client):
        buffer = b""
        try:
            while True:
                while b"\r\n\r\n" not in buffer:
                    more = client.recv(PIECE)
                    if not more:
                        return
                    buffer += more
                request, buffer = buffer.split(b"\r\n\r\n", 1)
                if b" /large" in request:
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
                    while True:
                        client.sendall(bytes(PIECE))
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                if b"transfer-encoding" in request.lower():
                    return
        except OSError:
            pass
        finally:
            client.close()

    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


def start(command, cpus, log, first):
    return subprocess.Popen(["taskset", "-c", cpus] + first + command, stdin=subprocess.DEVNULL, stdout=open(log, "a"), stderr=subprocess.STDOUT)


def resident(pid):
    return int(open(f"/proc/{pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def await_port(port):
    until = time.time() + 20
    while time.time() < until:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on {port}")


def play(name, options, pid):
    """The good client's times beside a flood, how much the proxy grew, and what the flood came to."""
    command = [sys.executable, os.path.abspath(__file__), "--hostile", name, "--secs", str(options.secs), "--rate", str(options.rate)]
    before = resident(pid)
    polite = [] if options.realtime else ["nice", "-n", "19"]
    flood = subprocess.Popen(["taskset", "-c", options.others] + polite + command, stdout=subprocess.PIPE, text=True)
    took = good(options.secs)
    grown = resident(pid) - before
    connections, sent = flood.communicate(timeout=options.secs + 20)[0].split()
    return took, grown, int(connections), int(sent)


def measure(options, folder):
    config = f"{folder}/evenkeel.yaml"
    open(config, "w").write(f"""version: 1
listeners: [{{ bind: "127.0.0.1:{PROXY}" }}]
routes: [{{ match: {{ path_prefix: /large }}, pool: large }}, {{ pool: small }}]
pools:
  - {{ name: small, backends: ["127.0.0.1:{SMALL}"], health: {{ type: none }} }}
  - {{ name: large, backends: ["127.0.0.1:{LARGE}"], health: {{ type: none }} }}
admin: {{ bind: "127.0.0.1:{ADMIN}" }}
logging: {{ level: error, access: {{ enabled: false }} }}
workers: 1
""")
    own = [sys.executable, os.path.abspath(__file__), "--backend"]
    first = ["chrt", "-r", "1"] if options.realtime else []
    # What is large only the hostile one asks for.
    running = [start(own + [str(port)], options.others, f"{folder}/b.log", ahead)
               for port, ahead in ((SMALL, first), (LARGE, []))]
    short = []
    try:
        await_port(SMALL), await_port(LARGE)
        proxy = start([os.path.abspath(options.bin), "run", "-c", config], "0", f"{folder}/p.log", first)
        running.append(proxy)
        await_port(PROXY)
        good(0.5)
        names = [name for name in floods() if not options.only or name.split()[0] in options.only.split(",")]
        secs, options.secs = options.secs, 1
        for name in names:
            play(name, options, proxy.pid)
        options.secs = secs
        print("| flood | connections | MiB sent | quiet p99 ms | p50 ms | p99 ms | x quiet | growth MiB |\n|---|--:|--:|--:|--:|--:|--:|--:|")
        for name in names:
            rounds = []
            for _ in range(options.rounds):
                quiet = percentile(play("nothing", options, proxy.pid)[0], 0.99)
                took, grown, connections, sent = play(name, options, proxy.pid)
                p99 = percentile(took, 0.99)
                rounds.append((p99 / quiet, quiet, statistics.median(took), p99, connections, sent, grown))
            ratio, quiet, p50, p99, connections, sent, _ = sorted(rounds)[len(rounds) // 2]
            mib = max(grown for *_, grown in rounds) / 2**20
            print(f"| {name} | {connections} | {sent / 2**20:.1f} | {quiet:.2f} | {p50:.2f} | {p99:.2f} | {ratio:.2f} | {mib:.1f} |", flush=True)
            if ratio > options.max:
                short.append(f"{name}: p99 {ratio:.2f} x quiet")
            if mib > options.max_mib:
                short.append(f"{name}: {mib:.1f} MiB")
        if proxy.poll() is not None:
            sys.exit("the proxy ended:\n" + open(f"{folder}/p.log").read()[-2000:])
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return short


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin")
    parser.add_argument("--secs", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--only")
    parser.add_argument("--max", type=float, default=2)
    parser.add_argument("--max-mib", type=float, default=10)
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--function", action="store_true")
    parser.add_argument("--hostile", help=argparse.SUPPRESS)
    parser.add_argument("--backend", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cpus = os.cpu_count() or 1
    options.others = ",".join(str(one) for one in range(1, cpus)) if cpus > 1 else "0"
    if options.hostile:
        return hostile(options.hostile, options.secs, options.rate)
    if options.backend:
        return backend(options.backend)
    if not options.bin:
        parser.error("--bin is needed")
    if options.function:
        options.secs, options.rounds, options.max = 1, 1, float("inf")
    if cpus > 1:
        os.sched_setaffinity(0, range(1, cpus))
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    with tempfile.TemporaryDirectory() as folder:
        short = measure(options, folder)
    if short:
        print("\nshort of the mark: " + "; ".join(short))
        sys.exit(3)


main()
