#!/usr/bin/env python3
"""What connections cost, evenkeel beside HAProxy (and nginx), in one run.

    apt-get install -y haproxy nginx-light openssl strace
    cargo build --release
    bench/connections.py tunnel --bin target/release/evenkeel        CPU seconds per GB of a plain TCP tunnel
    bench/connections.py tls --bin target/release/evenkeel           KiB per idle TLS connection
    bench/connections.py websocket --bin target/release/evenkeel     KiB per idle WebSocket; all answer in the end

The proxy runs alone on CPU 0 with one worker; clients and backend share the other CPUs. Rounds of `tunnel` are
interleaved and their order rotates; the figure to trust is `x haproxy`, the median over rounds against HAProxy
in the SAME round. HAProxy is measured as it is and with `option splice-auto`; the better one counts.

Options: --rounds N  --gib N (per round and proxy)  --streams N (tunnel)  --count N (idle connections)
--strace (tunnel: counts evenkeel's system calls in one more round)  --max R (exit 3 above this ratio)
Loopback only; bounded in time; ends every process that it starts. A proxy of N idle WebSockets has 2 N open files:
the limit is raised as far as that is allowed (`ulimit -Hn`), and told if it is too low. Each proxy has an address of
the backend of its own, and clients call from several, so that ports of connections that were closed are not missed.
"""
import argparse, asyncio, base64, hashlib, os, re, resource, signal, socket, ssl, statistics, subprocess, sys
import tempfile, threading, time

HZ = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
BACKEND, PIECE = 9501, 1 << 20
HOSTS = {"evenkeel": "127.0.0.1", "haproxy": "127.0.0.2", "nginx": "127.0.0.3"}  # where each proxy finds the backend
SOURCES = [f"127.0.1.{n}" for n in range(1, 9)]  # where clients call from
SPARE_FILES = 2000
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
AT_ONCE = 200  # connections that are opened at a time
PATIENCE = 60


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


def evenkeel(folder, listener, extra=""):
    """A configuration: one listener, one pool."""
    return write(f"{folder}/evenkeel.yaml", f"""version: 1
listeners: [{listener}]
routes: [{{ pool: b }}]
pools:
  - name: b
    backends: ["127.0.0.1:{BACKEND}"]
    health: {{ type: none }}
    connections: {{ max_idle: 64 }}
    timeouts: {{ idle: 10m }}
admin: {{ bind: "127.0.0.1:9533" }}
logging: {{ level: error, access: {{ enabled: false }} }}
workers: 1
{extra}""")


def haproxy(folder, name, mode, bind, more="", most=9600, host="127.0.0.1"):
    return write(f"{folder}/{name}.cfg", f"""global
 nbthread 1
 maxconn {most if mode == "http" else 2000}
defaults
 mode {mode}
 no log
 timeout connect 5s
 timeout client 600s
 timeout server 600s
 timeout tunnel 600s
 timeout http-keep-alive 600s
 {more}
frontend f
 bind {bind}
 default_backend b
backend b
 server s {host}:{BACKEND}
""")


def nginx(folder, listen, location, files):
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp = " ".join(f"{kind}_temp_path {folder}/t_{kind};" for kind in kinds)
    return write(f"{folder}/nginx.conf", f"""daemon off; worker_processes 1; pid {folder}/n.pid;
error_log {folder}/n.err crit; worker_rlimit_nofile {files}; events {{ worker_connections {files - 200}; }}
http {{ access_log off; keepalive_timeout 600s; {temp} server {{ {listen} location / {{ {location} }} }} }}""")


def start(command, cpus, log):
    command = ["taskset", "-c", cpus] + command
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=open(log, "a"), stderr=subprocess.STDOUT)


def tree(pid):
    found = [pid]
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in open(f"/proc/{pid}/task/{thread}/children").read().split():
                found += tree(int(child))
    except OSError:
        pass
    return found


def cpu(pid):
    nanos = 0
    for one in tree(pid):
        try:
            for thread in os.listdir(f"/proc/{one}/task"):
                nanos += int(open(f"/proc/{one}/task/{thread}/schedstat").read().split()[0])
        except OSError:
            pass
    return nanos / 1e9


def resident(pid):
    pages = 0
    for one in tree(pid):
        try:
            pages += int(open(f"/proc/{one}/statm").read().split()[1])
        except OSError:
            pass
    return pages * PAGE


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_port(port, log):
    until = time.time() + 10
    while time.time() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on {port}:\n" + open(log).read()[-2000:])


# --- tunnel ---------------------------------------------------------------------------------------

def source():
    """Sends as many bytes as the sixteen digits ask for that it is sent first."""
    listener = socket.create_server(("127.0.0.1", BACKEND), backlog=256)
    piece = memoryview(bytes(PIECE))

    def serve(client):
        with client:
            asked = b""
            while len(asked) < 16:
                more = client.recv(16 - len(asked))
                if not more:
                    return
                asked += more
            left = int(asked, 16)
            try:
                while left > 0:
                    left -= client.send(piece[:min(left, PIECE)])
            except OSError:
                pass

    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


def draw(port, amount, streams):
    """Takes so many bytes over so many connections at a time."""
    wrong = []

    def take():
        buffer = bytearray(PIECE)
        with socket.create_connection(("127.0.0.1", port), 10) as stream:
            stream.settimeout(PATIENCE)
            stream.sendall(b"%016x" % (amount // streams))
            got = 0
            while True:
                length = stream.recv_into(buffer)
                if length == 0:
                    break
                got += length
            if got != amount // streams:
                wrong.append(got)

    threads = [threading.Thread(target=take) for _ in range(streams)]
    began = time.time()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    if wrong:
        sys.exit(f"cut short: {wrong}")
    return time.time() - began


def tunnel(options, folder):
    config = evenkeel(folder, '{ name: t, bind: "127.0.0.1:9511", protocol: tcp, pool: b }')
    config = write(config, open(config).read().replace("routes: [{ pool: b }]\n", ""))
    proxies = {
        "evenkeel": ([options.bin, "run", "-c", config], 9511),
        "haproxy": (["haproxy", "-db", "-f", haproxy(folder, "ha", "tcp", "127.0.0.1:9512")], 9512),
        "haproxy splice": (["haproxy", "-db", "-f", haproxy(folder, "hs", "tcp", "127.0.0.1:9513", "option splice-auto")], 9513),
    }
    backend = start([sys.executable, os.path.abspath(__file__), "source", "--bin", "-"], options.others, f"{folder}/b.log")
    running, figures = {}, {name: [] for name in proxies}
    amount = options.gib << 30
    os.sched_setaffinity(0, {int(one) for one in options.others.split(",")})
    try:
        await_port(BACKEND, f"{folder}/b.log")
        for name, (command, port) in proxies.items():
            running[name] = start(command, "0", f"{folder}/{name}.log")
            await_port(port, f"{folder}/{name}.log")
            draw(port, 1 << 28, options.streams)
        names = list(proxies)
        for turn in range(options.rounds):
            for name in names[turn % 3:] + names[:turn % 3]:
                before = cpu(running[name].pid)
                took = draw(proxies[name][1], amount, options.streams)
                figures[name].append(((cpu(running[name].pid) - before) / (amount / 1e9), amount / took / 1e9))
        print(f"| proxy | CPU s per GB | GB/s | x haproxy |\n|---|--:|--:|--:|")
        peers = [min(one[0], other[0]) for one, other in zip(figures["haproxy"], figures["haproxy splice"])]
        ratio = 0
        for name, rounds in figures.items():
            against = statistics.median(one[0] / peer for one, peer in zip(rounds, peers))
            ratio = against if name == "evenkeel" else ratio
            median = [statistics.median(column) for column in zip(*rounds)]
            print(f"| {name} | {median[0]:.4f} | {median[1]:.2f} | {against:.3f} |")
        if options.strace:
            trace = subprocess.Popen(["strace", "-f", "-c", "-p", str(running["evenkeel"].pid)], stderr=subprocess.PIPE, text=True)
            time.sleep(1)
            draw(9511, 1 << 30, options.streams)
            trace.send_signal(signal.SIGINT)
            print("\nevenkeel's system calls for 1 GiB:\n" + trace.communicate()[1])
        return ratio
    finally:
        [stop(process) for process in [*running.values(), backend]]


# --- idle connections -----------------------------------------------------------------------------

async def backend(mode):
    """Answers requests, or switches to WebSocket and answers each message with one."""

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if mode == "tls":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    continue
                key = re.search(rb"sec-websocket-key: *(\S+)", head, re.I)[1]
                accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
                while True:
                    await reader.readexactly(6 + 2)
                    writer.write(b"\x81\x02ok")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(serve, list(HOSTS.values()), BACKEND, backlog=4096)
    async with server:
        await server.serve_forever()


async def idle(options, port, process):
    """KiB of the proxy for each connection that says nothing any more."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    secure = {"ssl": trusting} if options.what == "tls" else {}
    gate = asyncio.Semaphore(AT_ONCE)

    async def open_one(number):
        async with gate:
            source = (SOURCES[number % len(SOURCES)], 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source, **secure)
            if options.what == "tls":
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            else:
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            wanted = b" 200 " if options.what == "tls" else b" 101 "
            assert wanted in head, head
            return reader, writer

    warm = [await open_one(number) for number in range(50)]
    before = resident(process.pid)
    opened = await asyncio.gather(*(open_one(number) for number in range(options.count)))
    await asyncio.sleep(2)
    each = (resident(process.pid) - before) / options.count / 1024
    answered = 0
    if options.what == "websocket":
        for reader, writer in opened:
            writer.write(b"\x81\x82\0\0\0\0ok")
        for reader, writer in opened:
            answered += await asyncio.wait_for(reader.readexactly(4), PATIENCE) == b"\x81\x02ok"
        assert answered == options.count, f"{answered} of {options.count} answered"
    for reader, writer in warm + opened:
        writer.transport.abort()
    return each, answered


def idle_connections(options, folder):
    pem = [f"{folder}/cert.pem", f"{folder}/key.pem"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", pem[1], "-out", pem[0]],
                   check=True, capture_output=True)
    write(f"{folder}/both.pem", open(pem[0]).read() + open(pem[1]).read())
    tls = options.what == "tls"
    own = f', tls: {{ certificates: [{{ cert: "{pem[0]}", key: "{pem[1]}" }}] }}' if tls else ""
    limits = f"limits: {{ idle_timeout: 10m, max_connections: {options.count + 200} }}"
    config = evenkeel(folder, f'{{ name: t, bind: "127.0.0.1:9511"{own}, {limits} }}')
    bind = f"127.0.0.1:9512 ssl crt {folder}/both.pem" if tls else "127.0.0.1:9512"
    listen = f"listen 127.0.0.1:9513 ssl; ssl_certificate {pem[0]}; ssl_certificate_key {pem[1]};" if tls else "listen 127.0.0.1:9513;"
    upgrade = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_read_timeout 600s;'
    location = f"proxy_pass http://{HOSTS['nginx']}:{BACKEND}; proxy_http_version 1.1; " + ("" if tls else upgrade)
    proxies = {
        "evenkeel": ([options.bin, "run", "-c", config], 9511),
        "haproxy": (["haproxy", "-db", "-f", haproxy(folder, "ha", "http", bind, most=options.count + 200, host=HOSTS["haproxy"])], 9512),
        "nginx": (["nginx", "-c", nginx(folder, listen, location, options.files), "-e", f"{folder}/n.err"], 9513),
    }
    server = start([sys.executable, os.path.abspath(__file__), f"backend-{options.what}", "--bin", "-", "--count", str(options.count)], options.others, f"{folder}/b.log")
    os.sched_setaffinity(0, {int(one) for one in options.others.split(",")})
    figures = {}
    try:
        await_port(BACKEND, f"{folder}/b.log")
        for name, (command, port) in proxies.items():
            process = start(command, "0", f"{folder}/{name}.log")
            try:
                await_port(port, f"{folder}/{name}.log")
                figures[name] = asyncio.run(idle(options, port, process))
            finally:
                stop(process)
        print(f"| proxy | {options.count} idle, KiB each | answered in the end |\n|---|--:|--:|")
        for name, (each, answered) in figures.items():
            print(f"| {name} | {each:.1f} | {answered or '-'} |")
        return figures["evenkeel"][0] / min(figures["haproxy"][0], figures["nginx"][0])
    finally:
        stop(server)


def raise_limit(files):
    """So many open files for us and all that we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 30 if hard == resource.RLIM_INFINITY else hard
    if most < files:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            return files
        except (OSError, ValueError):
            sys.exit(f"{files} open files are needed and {most} allowed: ulimit -Hn, or a lower --count")
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tunnel", "tls", "websocket", "source", "backend-tls", "backend-websocket"])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=int, default=4)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--count", type=int, default=9000)
    parser.add_argument("--strace", action="store_true")
    parser.add_argument("--max", type=float)
    options = parser.parse_args()
    options.files = raise_limit(2 * options.count + SPARE_FILES)
    cpus = os.cpu_count() or 1
    options.others = ",".join(str(one) for one in range(1, cpus)) if cpus > 1 else "0"
    if options.what == "source":
        return source()
    if options.what.startswith("backend-"):
        return asyncio.run(backend(options.what.removeprefix("backend-")))
    options.bin = os.path.abspath(options.bin)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        ratio = (tunnel if options.what == "tunnel" else idle_connections)(options, folder)
    if options.max and ratio > options.max:
        print(f"short of the mark: {ratio:.3f} > {options.max}")
        sys.exit(3)


main()
