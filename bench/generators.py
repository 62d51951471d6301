#!/usr/bin/env python3
"""What a request costs `evenkeel bench` beside wrk, h2load and hey: CPU time of the generator itself.

    cargo build --release && bench/generators.py --bin target/release/evenkeel [--hey PATH]

nginx with one worker on the first CPU answers 200 with 13 bytes; each generator gets the second CPU for itself, 50
requests at a time, one after another in each of --rounds rounds of --secs seconds. The figure is user and system time
of the process by requests that were answered, which does not depend on how fast the server is; requests per second do.
hey speaks HTTP/2 over TLS only, wrk HTTP/1.1 only. The table has medians.

Options: --rounds N  --secs N  --only "http/1.1,h2c"
Needs nginx, wrk, h2load and openssl. Loopback only; bounded in time; ends every process that it starts.
"""
import argparse, os, re, socket, statistics, subprocess, tempfile, time

AT_A_TIME = "50"
NGINX = """
worker_processes 1; daemon off; pid nginx.pid; error_log error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
  ssl_certificate c.pem; ssl_certificate_key k.pem;
  server {{ listen 127.0.0.1:{plain}; location / {{ return 200 "hello, world\\n"; }} }}
  server {{ listen 127.0.0.1:{h2c} http2; location / {{ return 200 "hello, world\\n"; }} }}
  server {{ listen 127.0.0.1:{tls} ssl http2; location / {{ return 200 "hello, world\\n"; }} }}
}}
"""
ANSWERS = {
    "evenkeel": r"Requests:\s+(\d+)", "wrk": r"(\d+) requests in", "h2load": r"requests: (\d+) total",
    "hey": r"\[200\]\s+(\d+) responses",
}


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def scenarios(own, hey, secs, ports):
    plain, h2c, tls = (f"{scheme}://127.0.0.1:{port}/" for scheme, port in zip(("http", "http", "https"), ports))
    ours = [own, "bench", "-z", f"{secs}s", "-c", AT_A_TIME, "-insecure"]
    wrk = ["wrk", "-t1", f"-c{AT_A_TIME}", f"-d{secs}s"]
    h1load = ["h2load", "--h1", "-t1", f"-c{AT_A_TIME}", "-D", str(secs)]
    h2load = ["h2load", "-t1", "-c1", f"-m{AT_A_TIME}", "-D", str(secs)]
    heys = [hey, "-z", f"{secs}s", "-c", AT_A_TIME]
    all_of_them = {
        "http/1.1": [[*ours, plain], [*wrk, plain], [*h1load, plain], [*heys, plain]],
        "http/1.1 over tls": [[*ours, tls], [*wrk, tls], [*h1load, tls], [*heys, tls]],
        "h2c": [[*ours, "-http2", h2c], [*h2load, h2c]],
        "h2 over tls": [[*ours, "-http2", tls], [*h2load, tls], [*heys, "-h2", tls]],
    }
    return {name: [words for words in each if words[0]] for name, each in all_of_them.items()}


def measure(words, own):
    """Requests per second, and microseconds of CPU per request."""
    begun = time.monotonic()
    run = subprocess.Popen(["taskset", "-c", "1", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    told = run.stdout.read().decode()
    _, run.returncode, used = os.wait4(run.pid, 0)
    spent = time.monotonic() - begun
    name = "evenkeel" if words[0] == own else os.path.basename(words[0])
    found = re.search(ANSWERS[name], told)
    if not found:
        raise SystemExit(f"{' '.join(words)}:\n{told}")
    count = int(found[1])
    return name, count / spent, (used.ru_utime + used.ru_stime) * 1e6 / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release/evenkeel")
    parser.add_argument("--hey")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=int, default=2)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    own, ports = os.path.abspath(asked.bin), free_ports(3)
    with tempfile.TemporaryDirectory() as folder:
        subject = ["-subj", "/CN=127.0.0.1", "-keyout", f"{folder}/k.pem", "-out", f"{folder}/c.pem"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subprocess.run(["openssl", "req", "-x509", *key, *subject], check=True, stderr=subprocess.DEVNULL)
        with open(f"{folder}/nginx.conf", "w", encoding="utf-8") as file:
            file.write(NGINX.format(plain=ports[0], h2c=ports[1], tls=ports[2]))
        server = subprocess.Popen(["taskset", "-c", "0", "nginx", "-p", folder, "-c", "nginx.conf"])
        try:
            time.sleep(1)
            print("| scenario | generator | requests per second | CPU us per request |\n|---|---|--:|--:|")
            for scenario, all_of_them in scenarios(own, asked.hey, asked.secs, ports).items():
                if asked.only and scenario not in asked.only.split(","):
                    continue
                found = {}
                for _ in range(asked.rounds):
                    for words in all_of_them:
                        name, *figures = measure(words, own)
                        found.setdefault(name, []).append(figures)
                for name, figures in found.items():
                    rate, cost = (statistics.median(one) for one in zip(*figures))
                    print(f"| {scenario} | {name} | {rate:,.0f} | {cost:.2f} |", flush=True)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
