//! The bench against servers whose behaviour is known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use bytes::Bytes;
use evenkeel_load::bench::{
    Bench, BenchError, BenchUrl, Connections, CsvCheck, LiveBench, Report, Trust,
};
use evenkeel_load::{LoadError, TestServer, TestServerOptions};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

fn bench(url: &str, requests: u64, concurrency: usize) -> Bench {
    let url = BenchUrl::parse(url).expect(url);
    Bench { requests: Some(requests), concurrency, ..Bench::to(url) }
}

fn run(bench: &Bench) -> Report {
    bench.run(&LiveBench::default()).expect("a run")
}

/// Runs a server on a thread that ends with the test.
fn serve<F: Future<Output = ()>>(
    server: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static,
) -> SocketAddr {
    let (told, address) = sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            told.send(listener.local_addr().expect("bound")).expect("the test waits");
            server(listener).await;
        });
    });
    address.recv().expect("it listens")
}

fn test_server() -> SocketAddr {
    let (told, address) = sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let options = TestServerOptions {
                name: "b1".to_owned(),
                delay: Duration::ZERO,
                fail_rate: 0.0,
                status: 200,
                body_size: 0,
            };
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let server = TestServer::bind(any, options).await.expect("a free port");
            told.send(server.local_addr()).expect("the test waits");
            server.serve(std::future::pending()).await.expect("it serves");
        });
    });
    address.recv().expect("it listens")
}

/// A server in plain threads, one for each connection.
fn threads(script: impl Fn(std::net::TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let script = Arc::new(script);
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let (script, stream) = (Arc::clone(&script), stream.expect("a client"));
            thread::spawn(move || script(stream, index));
        }
    });
    address
}

/// Waits without a busy loop: nobody ever sends.
fn pass(time: Duration) {
    let (_never, held) = sync_channel::<()>(1);
    let _ = held.recv_timeout(time);
}

/// Of ten answers of a connection, nine take 5 ms and one takes 60 ms.
fn nine_of_ten(mut stream: std::net::TcpStream) {
    let mut buffer = [0; 4096];
    for number in 0.. {
        match stream.read(&mut buffer) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        pass(Duration::from_millis(if number % 10 == 9 { 60 } else { 5 }));
        let answer = b"HTTP/1.1 200 OK\r\nX-Backend: known\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).expect("the bench reads");
    }
}

#[test]
fn percentiles_are_those_of_the_server_and_of_the_csv() {
    let folder = tempfile::tempdir().expect("a folder");
    let csv = folder.path().join("rows.csv");
    let address = threads(|stream, _| nine_of_ten(stream));
    let report =
        run(&Bench { csv: Some(csv.clone()), ..bench(&format!("http://{address}"), 400, 4) });
    assert_eq!((report.requests(), report.failed(), report.connections), (400, 0, 4));
    assert_eq!(report.backends, BTreeMap::from([("known".to_owned(), 400)]));
    let within = |share, low, high| {
        let found = report.latency.percentile(share);
        let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
        assert!((low..high).contains(&found), "{share}: {found:?}");
    };
    within(0.5, 5, 40);
    within(0.85, 5, 55);
    within(0.95, 60, 200);
    let rows = rows(&csv);
    let mut latencies: Vec<u64> =
        rows.iter().map(|row| row[2].parse().expect("a number")).collect();
    latencies.sort_unstable();
    let of_csv = Duration::from_nanos(latencies[379]);
    let of_report = report.latency.percentile(0.95);
    assert!(of_report.abs_diff(of_csv) <= of_csv / 1000, "{of_csv:?} {of_report:?}");
    let ends: Vec<u64> = rows
        .iter()
        .map(|row| row[1].parse::<u64>().expect("a number") + row[2].parse::<u64>().expect("one"))
        .collect();
    assert!(ends.is_sorted(), "rows stand in the order in which requests ended");
    let check = CsvCheck { expected: 400, tolerance: Some(0.0) };
    let file = std::fs::File::open(&csv).expect("the CSV");
    let verdict = check.read(BufReader::new(file)).expect("readable");
    assert!(verdict.holds(), "{verdict}");
}

fn rows(csv: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(csv).expect("the CSV");
    let lines = text.lines().skip(1);
    lines.map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn an_open_loop_keeps_its_times_and_counts_from_them() {
    let address = test_server();
    let url = format!("http://{address}/");
    let open = Bench { rate: Some(400.0), ..bench(&url, 200, 8) };
    let report = run(&open);
    assert_eq!((report.requests(), report.failed()), (200, 0));
    // The last one is due after 199/400 s.
    assert!(report.elapsed >= Duration::from_millis(497), "{:?}", report.elapsed);
    // One connection, each answer takes 10 ms: the twentieth request waits for nineteen others.
    let url = format!("http://{address}/delay/10ms");
    let late = run(&Bench { rate: Some(10_000.0), ..bench(&url, 20, 1) });
    let max = late.latency.max();
    assert!(max >= Duration::from_millis(198), "{max:?}");
    assert!(late.latency.percentile(0.5) >= Duration::from_millis(95));
}

#[test]
fn an_open_loop_opens_no_more_connections_than_it_needs_if_it_shall_not() {
    let address = test_server();
    let open = |path: &str, rate: f64, requests: u64| Bench {
        rate: Some(rate),
        connections: Connections::Fewest,
        ..bench(&format!("http://{address}{path}"), requests, 100)
    };
    let calm = run(&open("/", 200.0, 60));
    assert_eq!((calm.requests(), calm.failed(), calm.lateness.count()), (60, 0, 60));
    // Every one of a hundred would have had a turn.
    assert!(calm.connections < 60, "{}", calm.connections);
    // All are due at once, and each takes its time: others are opened meanwhile.
    let rush = run(&open("/delay/500ms", 100_000.0, 100));
    assert_eq!((rush.requests(), rush.failed()), (100, 0));
    assert!(rush.connections >= 10, "{}", rush.connections);
}

#[test]
fn a_stall_counts_in_every_request_that_was_due_meanwhile() {
    // The third answer of each connection takes 400 ms; with one connection, all wait for it.
    let address = threads(|mut stream, _| {
        let mut buffer = [0; 4096];
        for number in 0.. {
            match stream.read(&mut buffer) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            pass(Duration::from_millis(if number == 2 { 400 } else { 0 }));
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).expect("the bench reads");
        }
    });
    let open = Bench { rate: Some(200.0), ..bench(&format!("http://{address}/"), 60, 1) };
    let report = run(&open);
    // The last one is due at 295 ms, and all that are due after the third wait until 410 ms.
    assert!(report.latency.percentile(0.5) >= Duration::from_millis(100), "{report:?}");
    assert!(report.latency.max() >= Duration::from_millis(390));
}

#[test]
fn requests_have_their_numbers_in_their_paths() {
    let (told, paths) = sync_channel(10);
    let address = threads(move |mut stream, _| {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let path = text.split(' ').nth(1).expect("a path").to_owned();
            told.send(path).expect("the test waits");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).expect("the bench reads");
        }
    });
    let numbered = bench(&format!("http://{address}/r/{{seq}}?n={{seq}}"), 3, 1);
    assert_eq!(run(&numbered).failed(), 0);
    let paths: Vec<String> = (0..3).map(|_| paths.recv().expect("a request")).collect();
    assert_eq!(paths, ["/r/1?n=1", "/r/2?n=2", "/r/3?n=3"]);
    let http2 = Bench { http2: true, ..numbered };
    let refused = http2.run(&LiveBench::default()).expect_err("not there");
    assert!(matches!(refused, BenchError::Invalid(why) if why.contains("{seq}")));
}

#[test]
fn whatever_is_not_answered_is_counted() {
    // Every second connection is cut.
    let cut = threads(|mut stream, index| {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).expect("a request");
        if index % 2 == 1 && read > 0 {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).expect("the bench reads");
        }
    });
    let report = run(&bench(&format!("http://{cut}"), 10, 1));
    assert_eq!((report.requests(), report.failed()), (10, 5));
    assert_eq!(report.errors[&LoadError::Reset].count, 5);
    assert_eq!(report.backends, BTreeMap::from([("direct".to_owned(), 5)]));
    let silent = threads(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let timeout = Duration::from_millis(100);
    let report = run(&Bench { timeout, ..bench(&format!("http://{silent}"), 3, 3) });
    assert_eq!(report.errors[&LoadError::Timeout].count, 3);
    let odd = threads(|mut stream, _| stream.write_all(b"220 hello\r\n\r\n").expect("a client"));
    let report = run(&bench(&format!("http://{odd}"), 2, 1));
    assert_eq!(report.failed(), 2);
}

#[test]
fn nobody_there_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let ended = bench(&format!("http://{address}"), 5, 2).run(&LiveBench::default());
    assert!(matches!(ended, Err(BenchError::Refused(_))), "{ended:?}");
}

#[test]
fn a_stop_ends_a_run_and_counts_what_was_under_way() {
    let silent = threads(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let live = LiveBench::default();
    live.stop();
    let report = bench(&format!("http://{silent}"), 100, 3).run(&live).expect("a run");
    assert_eq!((report.requests(), report.stopped), (0, true));
    let live = LiveBench::default();
    let bench = bench(&format!("http://{silent}"), 100, 3);
    let running = live.clone();
    let run = thread::spawn(move || bench.run(&running));
    pass(Duration::from_millis(200));
    live.stop();
    let report = run.join().expect("a run").expect("a run");
    assert_eq!(report.errors[&LoadError::Interrupted].count, report.requests());
    assert!((1..=3).contains(&report.requests()));
}

#[test]
fn a_run_that_was_stopped_lasted_to_its_last_request() {
    let live = LiveBench::default();
    let url = format!("http://{}/", test_server());
    let open = Bench { rate: Some(0.01), ..bench(&url, 100, 3) };
    let (running, begun) = (live.clone(), Instant::now());
    let run = thread::spawn(move || open.run(&running));
    while live.ended() == 0 {
        pass(Duration::from_millis(5));
    }
    let until = begun.elapsed();
    live.stop();
    let report = run.join().expect("a run").expect("a run");
    assert_eq!((report.requests(), report.failed(), report.stopped), (1, 0, true));
    assert!(report.elapsed <= until, "{:?} of {until:?}", report.elapsed);
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_costs_the_rows_and_not_what_was_measured() {
    let url = format!("http://{}/", test_server());
    let report = run(&Bench { csv: Some("/dev/full".into()), ..bench(&url, 5_000, 4) });
    assert_eq!((report.requests(), report.failed()), (5_000, 0));
    assert!(report.csv_fault.is_some_and(|why| why.contains("No space left")));
}

#[test]
fn web_sockets_and_bytes_come_back() {
    let address = test_server();
    let body = b"hello".to_vec();
    let echo = Bench { body: body.clone(), ..bench(&format!("ws://{address}/ws"), 50, 5) };
    let report = run(&echo);
    assert_eq!((report.succeeded(), report.bytes, report.connections), (50, 250, 5));
    assert_eq!(report.backends["b1"], 50);
    let report = run(&bench(&format!("ws://{address}/status/503"), 2, 1));
    assert_eq!(report.statuses, BTreeMap::from([(503, 2)]));
    let report = run(&bench(&format!("ws://{address}/"), 2, 1));
    assert_eq!(report.errors[&LoadError::BadResponse].count, 2);
    let echo = threads(|mut stream, _| {
        let mut reader = stream.try_clone().expect("a second end");
        let _ = std::io::copy(&mut reader, &mut stream);
    });
    let large: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let bytes = run(&Bench { body: large, ..bench(&format!("tcp://{echo}"), 6, 2) });
    assert_eq!((bytes.succeeded(), bytes.bytes, bytes.connections), (6, 2_400_000, 2));
    let connects = run(&bench(&format!("tcp://{echo}"), 10, 2));
    assert_eq!((connects.succeeded(), connects.connections), (10, 10));
}

/// Answers HTTP/2 requests with the length of their body.
async fn http2_connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let mut connection = h2::server::handshake(stream).await.expect("a client");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut length = 0;
            while let Some(Ok(part)) = body.data().await {
                length += part.len();
                body.flow_control().release_capacity(part.len()).expect("it is ours");
            }
            let head = http::Response::builder().header("x-backend", "h2").body(());
            let mut send = respond.send_response(head.expect("a head"), false).expect("open");
            send.send_data(length.to_string().into(), true).expect("open");
        });
    }
}

#[test]
fn http2_shares_connections() {
    let address = serve(|listener| async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(http2_connection(stream));
        }
    });
    let url = format!("http://{address}/x");
    let report = run(&Bench { http2: true, ..bench(&url, 300, 40) });
    assert_eq!((report.succeeded(), report.backends["h2"], report.bytes), (300, 300, 300));
    assert!(report.connections <= 16, "{}", report.connections);
    // Longer than a window of either side.
    let body = vec![b'x'; 300_000];
    let report = run(&Bench { http2: true, body, ..bench(&url, 6, 3) });
    assert_eq!((report.succeeded(), report.bytes), (6, 36));
    let fresh = run(&Bench { http2: true, keep_alive: false, ..bench(&url, 8, 2) });
    assert_eq!((fresh.succeeded(), fresh.connections), (8, 8));
}

#[test]
fn http2_survives_a_server_that_takes_few_streams_and_leaves_often() {
    let address = serve(|listener| async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut settings = h2::server::Builder::new();
                let settings = settings.max_concurrent_streams(7).max_header_list_size(100_000);
                let mut connection =
                    settings.handshake::<_, Bytes>(stream).await.expect("a client");
                let mut left = 50;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::new(());
                    respond.send_response(head, true).expect("open");
                    left -= 1;
                    if left == 0 {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    let url = format!("http://{address}/x");
    let report = run(&Bench { http2: true, ..bench(&url, 500, 40) });
    assert_eq!((report.succeeded(), report.failed()), (500, 0), "{:?}", report.errors);
    assert!(report.connections >= 5, "{}", report.connections);
    // A head that is longer than a frame.
    let headers = vec![format!("x-long: {}", "y".repeat(40_000))];
    let report = run(&Bench { http2: true, headers, ..bench(&url, 20, 4) });
    assert_eq!((report.succeeded(), report.failed()), (20, 0), "{:?}", report.errors);
}

#[test]
fn http2_needs_a_server_that_speaks_it() {
    let old = test_server();
    let report = run(&Bench { http2: true, ..bench(&format!("http://{old}/"), 4, 2) });
    let error = &report.errors[&LoadError::BadResponse];
    assert_eq!(error.count, 4);
    assert!(error.text.as_ref().is_some_and(|text| text.contains("does not speak HTTP/2")));
    let silent = threads(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let timeout = Duration::from_millis(100);
    let report = run(&Bench { http2: true, timeout, ..bench(&format!("http://{silent}"), 6, 3) });
    assert_eq!(report.errors[&LoadError::Timeout].count, 6);
    let short = threads(|mut stream, _| {
        let _ = stream.read(&mut [0; 4096]);
    });
    let report = run(&Bench { http2: true, ..bench(&format!("http://{short}"), 4, 2) });
    assert_eq!(report.errors[&LoadError::Reset].count, 4);
}

/// A server with a certificate of its own for `localhost`, and a file with that.
fn secure(folder: &Path, alpn: &[&str]) -> SocketAddr {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    // As `openssl req -x509` makes them.
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join("ca.pem"), made.pem()).expect("written");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key)
        .expect("a key");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(|listener| async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    http2_connection(stream).await;
                }
            });
        }
    })
}

#[test]
fn tls_is_believed_as_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = secure(folder.path(), &["h2"]);
    let url = format!("https://localhost:{}/", address.port());
    let one = Bench { http2: true, ..bench(&url, 4, 2) };
    let trusted = Trust::File(folder.path().join("ca.pem"));
    assert_eq!(run(&Bench { trust: trusted.clone(), ..one.clone() }).succeeded(), 4);
    assert_eq!(run(&Bench { trust: Trust::Anyone, ..one.clone() }).succeeded(), 4);
    let report = run(&one);
    assert_eq!(report.errors[&LoadError::Tls].count, 4);
    let text = report.errors[&LoadError::Tls].text.clone().expect("a reason");
    assert!(text.contains("certificate"), "{text}");
    // Another name than the certificate has, and a server that does not speak HTTP/2.
    let other = BenchUrl::parse(&format!("https://{address}/")).expect("a URL");
    let report = run(&Bench { url: other, trust: trusted.clone(), ..one.clone() });
    assert_eq!(report.errors[&LoadError::Tls].count, 4);
    let old = secure(folder.path(), &[]);
    let url = BenchUrl::parse(&format!("https://localhost:{}/", old.port())).expect("a URL");
    let report = run(&Bench { url, trust: trusted, ..one.clone() });
    assert_eq!(report.errors[&LoadError::Tls].count, 4);
    let missing = Trust::File(folder.path().join("none.pem"));
    let ended = Bench { trust: missing, ..one }.run(&LiveBench::default());
    assert!(matches!(ended, Err(BenchError::Invalid(_))), "{ended:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    let good = bench("http://127.0.0.1:1/", 1, 1);
    let cases = [
        Bench { concurrency: 0, ..good.clone() },
        Bench { requests: Some(0), ..good.clone() },
        Bench { duration: Some(Duration::ZERO), ..good.clone() },
        Bench { requests: None, ..good.clone() },
        Bench { rate: Some(0.0), ..good.clone() },
        Bench { rate: Some(f64::NAN), ..good.clone() },
        Bench { timeout: Duration::ZERO, ..good.clone() },
        Bench { method: Some("A B".to_owned()), ..good.clone() },
        Bench { headers: vec!["x".to_owned()], ..good.clone() },
        Bench { http2: true, ..bench("ws://127.0.0.1:1/", 1, 1) },
        Bench { headers: vec!["a: b".to_owned()], ..bench("tcp://127.0.0.1:1", 1, 1) },
    ];
    for bench in cases {
        let ended = bench.run(&LiveBench::default());
        assert!(matches!(ended, Err(BenchError::Invalid(_))), "{bench:?}: {ended:?}");
    }
}
