#!/usr/bin/env python3
"""Proxy CPU per request, evenkeel beside HAProxy and nginx, in one run.

    apt-get install -y haproxy nginx-light wrk nghttp2-client openssl
    cargo build --release && bench/compare.py --bin target/release/evenkeel

The proxy runs alone on CPU 0 with one worker; wrk and the backend (nginx, answers from memory) share CPU 1.
Rounds are interleaved and their order rotates. The figure to trust is `x haproxy`, the median over rounds of
CPU-microseconds per request against HAProxy in the SAME round; absolute figures drift on a shared machine.
All contenders: keep-alive on both sides, two backends, round robin, X-Forwarded-For added, no access log.

Options: --scenarios a,b  --rounds N  --secs N  --max R (exit 3 if any scenario's ratio to the better of the
peers is above R)  --json FILE  --extra 'KEY: VALUE' (appended to evenkeel's config)
Loopback only; bounded in time; ends every process that it starts.
"""
import argparse, json, os, re, signal, statistics as st, subprocess, sys, tempfile, time

HZ = os.sysconf('SC_CLK_TCK')
BROWSER = ['Host: www.example.com', 'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36',
           'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8', 'Accept-Language: en-US,en;q=0.9,de;q=0.8',
           'Accept-Encoding: gzip, deflate, br, zstd', 'Referer: https://www.example.com/some/page?with=query&and=more',
           'Cookie: sid=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.2.123456789.1234567890', 'Sec-Fetch-Dest: document',
           'Sec-Fetch-Mode: navigate', 'Sec-Fetch-Site: same-origin', 'Upgrade-Insecure-Requests: 1', 'Cache-Control: max-age=0']
SCEN = {  # name: (tool, connections, path, tls, extra arguments, what)
    'get':    ('wrk', 64, '/', 0, [], 'GET 128 B, keep-alive, 64 connections'),
    'real':   ('wrk', 64, '/real', 0, sum((['-H', h] for h in BROWSER), []), 'GET with browser headers, 500 B answer head'),
    'c1000':  ('wrk', 1000, '/', 0, [], 'GET 128 B, 1000 connections'),
    'get64k': ('wrk', 32, '/64k', 0, [], 'GET 64 KiB'),
    'get1m':  ('wrk', 16, '/1m', 0, [], 'GET 1 MiB'),
    'post16k':('wrk', 64, '/post', 0, ['POST'], 'POST 16 KiB'),
    'close':  ('wrk', 64, '/', 0, ['-H', 'Connection: close'], 'GET 128 B, new client connection each'),
    'tls':    ('wrk', 64, '/', 1, [], 'GET 128 B over TLS, keep-alive'),
    'tlsnew': ('wrk', 32, '/', 1, ['-H', 'Connection: close'], 'GET 128 B, full TLS handshake each'),
    'h2':     ('h2load', 16, '/', 1, ['-m', '16'], 'HTTP/2 over TLS to the client, HTTP/1.1 to the backend'),
}

def sh(path, text):
    with open(path, 'w') as f: f.write(text)
    return path

def configs(d, secs):
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', '/CN=localhost',
                    '-addext', 'subjectAltName=DNS:localhost', '-keyout', f'{d}/key.pem', '-out', f'{d}/cert.pem'], check=True, capture_output=True)
    sh(f'{d}/both.pem', open(f'{d}/cert.pem').read() + open(f'{d}/key.pem').read())
    for n, k in (('64k', 65536), ('1m', 1 << 20)):
        os.makedirs(f'{d}/www', exist_ok=True); open(f'{d}/www/{n}', 'wb').write(b'x' * k)
    sh(f'{d}/post.lua', 'wrk.method="POST"\nwrk.body=string.rep("x",16384)\n')
    body = 'x' * 128
    head = ''.join(f'add_header {k} "{v}" always;' for k, v in (('Vary', 'Accept-Encoding'), ('Cache-Control', 'private, max-age=0, must-revalidate'),
           ('X-Request-Id', '3f2c9a4e-1111-4222-8333-abcdefabcdef'), ('Strict-Transport-Security', 'max-age=31536000; includeSubDomains'),
           ('X-Content-Type-Options', 'nosniff'), ('X-Frame-Options', 'SAMEORIGIN'), ('Set-Cookie', 'sid=0123456789abcdef0123456789abcdef; Path=/; HttpOnly')))
    tmp = ' '.join(f'{x}_temp_path {d}/t_{x};' for x in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
    http = f'access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 300s; client_body_buffer_size 64k; {tmp}'
    sh(f'{d}/backend.conf', f'''daemon off; worker_processes 1; pid {d}/b.pid; error_log {d}/b.err crit; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; multi_accept on; }}
http {{ {http} sendfile on; open_file_cache max=10;
 server {{ listen 127.0.0.1:9401 backlog=8192; listen 127.0.0.1:9402 backlog=8192; root {d}/www;
  location / {{ default_type text/plain; return 200 "{body}"; }} location = /real {{ default_type application/json; {head} return 200 "{body}"; }}
  location = /post {{ proxy_pass http://127.0.0.1:9403; proxy_http_version 1.1; proxy_set_header Connection ""; client_max_body_size 0; }}
  location = /64k {{ }} location = /1m {{ }} }}
 server {{ listen 127.0.0.1:9403; location / {{ return 200 "{body}"; }} }} }}''')
    sh(f'{d}/haproxy.cfg', f'''global
 nbthread 1
 maxconn 8000
defaults
 mode http
 no log
 option http-keep-alive
 option forwardfor
 http-reuse always
 timeout connect 5s
 timeout client 60s
 timeout server 60s
frontend f
 bind 127.0.0.1:9411 backlog 8192
 bind 127.0.0.1:9421 backlog 8192 ssl crt {d}/both.pem alpn h2,http/1.1
 http-request set-header X-Forwarded-Proto http
 default_backend b
backend b
 balance roundrobin
 server s1 127.0.0.1:9401 pool-max-conn -1
 server s2 127.0.0.1:9402 pool-max-conn -1
''')
    sh(f'{d}/nginx.conf', f'''daemon off; worker_processes 1; pid {d}/n.pid; error_log {d}/n.err crit; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; multi_accept on; }}
http {{ {http.replace('/t_', '/p_')} server_tokens off; proxy_max_temp_file_size 0;
 upstream b {{ server 127.0.0.1:9401; server 127.0.0.1:9402; keepalive 2048; keepalive_requests 1000000000; }}
 server {{ listen 127.0.0.1:9412 backlog=8192; listen 127.0.0.1:9422 ssl http2 backlog=8192; ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
  ssl_protocols TLSv1.2 TLSv1.3; location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto http;
  proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 128k; }} }} }}''')

def evenkeel_cfg(d, tls, extra):
    t = f'''
  - bind: "127.0.0.1:9423"
    tls: {{ certificates: [{{ cert: "{d}/cert.pem", key: "{d}/key.pem" }}] }}''' if tls else ''
    return sh(f'{d}/evenkeel.yaml', f'''version: 1
listeners:
  - bind: "127.0.0.1:9413"{t}
routes: [{{ pool: b }}]
pools:
  - name: b
    strategy: round_robin
    backends: ["127.0.0.1:9401", "127.0.0.1:9402"]
    health: {{ type: none }}
admin: {{ bind: "127.0.0.1:9433" }}
logging: {{ level: error, access: {{ enabled: false }} }}
workers: 1
{extra}
''')

def tree(pid):
    out = [pid]
    try:
        for t in os.listdir(f'/proc/{pid}/task'):
            for c in open(f'/proc/{pid}/task/{t}/children').read().split(): out += tree(int(c))
    except OSError: pass
    return out

def cpu(pid):
    u = s = ns = 0
    for p in tree(pid):
        try:
            f = open(f'/proc/{p}/stat').read().rsplit(')', 1)[1].split(); u += int(f[11]); s += int(f[12])
            for t in os.listdir(f'/proc/{p}/task'): ns += int(open(f'/proc/{p}/task/{t}/schedstat').read().split()[0])
        except OSError: pass
    return u / HZ, s / HZ, ns / 1e9

def rss(pid):
    k = 0
    for p in tree(pid):
        try: k += int(re.search(r'VmHWM:\s+(\d+)', open(f'/proc/{p}/status').read())[1])
        except (OSError, TypeError): pass
    return k / 1024

def start(cmd, cpus, log):
    return subprocess.Popen(['taskset', '-c', cpus] + cmd, stdin=subprocess.DEVNULL, stdout=open(log, 'a'), stderr=subprocess.STDOUT)

def stop(p):
    ids = tree(p.pid)
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for i in ids:
            try: os.kill(i, sig)
            except OSError: pass
        t = time.time()
        while time.time() - t < 2:
            if p.poll() is not None and not any(os.path.exists(f'/proc/{i}') for i in ids): return
            time.sleep(0.02)

def up(port, secs=8):
    t = time.time()
    while time.time() - t < secs:
        if subprocess.run(['curl', '-s', '-m', '2', '-o', '/dev/null', '-f', f'http://127.0.0.1:{port}/']).returncode == 0: return True
        time.sleep(0.1)
    return False

def ms(x):
    m = re.match(r'([\d.]+)(us|ms|s|m)$', x)
    return float(m[1]) * {'us': .001, 'ms': 1, 's': 1000, 'm': 60000}[m[2]] if m else float('nan')

def drive(sc, port, secs, d):
    tool, conns, path, tls, extra, _ = SCEN[sc]
    url = f"http{'s' if tls else ''}://127.0.0.1:{port}{path}"
    if tool == 'wrk':
        extra = ['-s', f'{d}/post.lua'] if extra == ['POST'] else extra
        o = subprocess.run(['taskset', '-c', '1', 'wrk', '-t1', f'-c{conns}', f'-d{secs}s', '--timeout', '5s', '--latency'] + extra + [url], capture_output=True, text=True).stdout
        m = re.search(r'(\d+) requests in ([\d.]+)s', o)
        if not m: return None
        q = lambda k: ms(re.search(rf'^\s+{k}%\s+(\S+)', o, re.M)[1]) if re.search(rf'^\s+{k}%\s+(\S+)', o, re.M) else float('nan')
        e = re.search(r'Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)', o); n2 = re.search(r'Non-2xx or 3xx responses: (\d+)', o)
        return {'n': int(m[1]), 'rps': int(m[1]) / float(m[2]), 'p50': q(50), 'p99': q(99), 'err': (sum(map(int, e.groups())) if e else 0) + (int(n2[1]) if n2 else 0)}
    o = subprocess.run(['taskset', '-c', '1', 'h2load', '-t1', f'-c{conns}', f'-D{secs}'] + extra + [url], capture_output=True, text=True).stdout
    m = re.search(r'(\d+) succeeded, (\d+) failed, (\d+) errored', o)
    if not m or int(m[1]) == 0 or 'Application protocol: h2' not in o: return None
    return {'n': int(m[1]), 'rps': int(m[1]) / secs, 'p50': float('nan'), 'p99': float('nan'), 'err': int(m[2]) + int(m[3])}

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--bin', required=True); ap.add_argument('--scenarios', default='get,real,c1000,get64k,get1m,post16k,close')
    ap.add_argument('--rounds', type=int, default=5); ap.add_argument('--secs', type=int, default=3)
    ap.add_argument('--max', type=float); ap.add_argument('--json'); ap.add_argument('--extra', default='')
    a = ap.parse_args()
    scs = a.scenarios.split(',')
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        configs(d, a.secs)
        cfg = evenkeel_cfg(d, any(SCEN[s][3] for s in scs), a.extra)
        peers = {'haproxy': (['haproxy', '-db', '-f', f'{d}/haproxy.cfg'], 9411, 9421), 'nginx': (['nginx', '-c', f'{d}/nginx.conf', '-e', f'{d}/n.err'], 9412, 9422),
                 'evenkeel': ([os.path.abspath(a.bin), 'run', '-c', cfg], 9413, 9423)}
        backend = start(['nginx', '-c', f'{d}/backend.conf', '-e', f'{d}/b.err'], '1', f'{d}/b.log')
        run = {}
        res = {}
        try:
            for n, (cmd, port, _) in peers.items():
                run[n] = start(cmd, '0', f'{d}/{n}.log')
                if not up(port): sys.exit(f'{n} did not come up:\n' + open(f'{d}/{n}.log').read()[-2000:])
            names = list(peers)
            for sc in scs:
                for r in range(a.rounds):
                    order = names[r % 3:] + names[:r % 3]
                    for n in order:
                        port = peers[n][2 if SCEN[sc][3] else 1]
                        if r == 0: drive(sc, port, 1, d)
                        c0 = cpu(run[n].pid); x = drive(sc, port, a.secs, d); c1 = cpu(run[n].pid)
                        if x and x['n']:
                            x['us'] = (c1[2] - c0[2]) / x['n'] * 1e6; uu, ss = c1[0] - c0[0], c1[1] - c0[1]; x['user'] = uu / max(uu + ss, 1e-9); x['rss'] = rss(run[n].pid)
                        res.setdefault(sc, {}).setdefault(n, []).append(x)
        finally:
            for p in list(run.values()) + [backend]: stop(p)
    bad = []
    for sc, R in res.items():
        print(f"\n{sc}: {SCEN[sc][5]}\n| proxy | req/s | p50 ms | p99 ms | errors | CPU us/req | user us | peak RSS MiB | x haproxy (min..max) | x nginx |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
        ratio = {}
        for n in R:
            ok = [x for x in R[n] if x and 'us' in x]
            if not ok: print(f'| {n} | no answer |'); bad.append(f'{sc}: {n} no answer'); continue
            med = lambda k: st.median(x[k] for x in ok)
            to = lambda p: [x['us'] / y['us'] for x, y in zip(R[n], R[p]) if x and y and 'us' in x and 'us' in y]
            h, g = to('haproxy'), to('nginx'); ratio[n] = max(st.median(h), st.median(g)) if h and g else float('nan')
            print(f"| {n} | {med('rps'):,.0f} | {med('p50'):.2f} | {med('p99'):.2f} | {sum(x['err'] for x in ok)} | {med('us'):.2f} | {med('us') * med('user'):.2f} | {max(x['rss'] for x in ok):.0f} | {st.median(h):.3f} ({min(h):.3f}..{max(h):.3f}) | {st.median(g):.3f} |")
            if n == 'evenkeel' and sum(x['err'] for x in ok): bad.append(f'{sc}: evenkeel had errors')
        if a.max and ratio.get('evenkeel', 9) > a.max: bad.append(f"{sc}: {ratio.get('evenkeel', float('nan')):.3f} > {a.max}")
    if a.json: json.dump(res, open(a.json, 'w'))
    if bad: print('\nshort of the mark: ' + '; '.join(bad)); sys.exit(3)

main()
