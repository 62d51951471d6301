use super::*;
use evenkeel_proxy::net::{Peek, Stream};
use std::future::poll_fn;
use std::io::IoSlice;
use tokio::runtime::{Builder, LocalOptions};

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 9], 80))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(test)
}

async fn pair(shape: WireShape) -> (MemoryStream, MemoryStream, MemoryNet) {
    let net = MemoryNet::new(1, shape);
    let mut listener = net.bind(address(), DialShape::smooth());
    let near = net.dial(address(), address()).await.expect("somebody listens");
    let far = listener.accept().await.expect("somebody called");
    (near, far, net)
}

fn read(stream: &mut MemoryStream, most: usize) -> Poll<io::Result<usize>> {
    let mut cx = Context::from_waker(Waker::noop());
    stream.poll_read(&mut cx, &mut vec![0; most])
}

fn write(stream: &mut MemoryStream, bytes: &[u8]) -> Poll<io::Result<usize>> {
    let mut cx = Context::from_waker(Waker::noop());
    stream.poll_write(&mut cx, &[IoSlice::new(bytes)])
}

fn is_readable(stream: &mut MemoryStream) -> bool {
    stream.poll_readable(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn taken(poll: Poll<io::Result<usize>>) -> usize {
    match poll {
        Poll::Ready(result) => result.expect("no error"),
        Poll::Pending => panic!("pending"),
    }
}

#[test]
fn readiness_is_an_edge_but_an_end_stays() {
    run(async {
        let (mut near, mut far, net) = pair(WireShape::smooth()).await;
        assert!(!is_readable(&mut far) && far.is_quiet());
        assert_eq!(taken(write(&mut near, b"abcd")), 4);
        assert!(is_readable(&mut far) && far.peek() == Peek::Bytes);
        assert_eq!(taken(read(&mut far, 4)), 4);
        assert!(is_readable(&mut far), "a full read does not know that it was the last");
        assert!(far.is_quiet() && read(&mut far, 4).is_pending() && !is_readable(&mut far));
        assert_eq!(taken(write(&mut near, b"ab")), 2);
        assert_eq!(taken(read(&mut far, 4)), 2);
        assert!(!is_readable(&mut far), "a short read does");
        drop(near);
        assert!(is_readable(&mut far) && far.peek() == Peek::End && !far.is_quiet());
        assert_eq!(taken(read(&mut far, 4)), 0);
        assert!(is_readable(&mut far));
        net.close();
    });
}

#[test]
fn room_is_bounded_and_comes_back() {
    run(async {
        let shape = WireShape { capacity: 4..=4, ..WireShape::smooth() };
        let (mut near, mut far, net) = pair(shape).await;
        assert_eq!(taken(write(&mut near, b"abcdef")), 4);
        assert!(write(&mut near, b"ef").is_pending());
        assert_eq!(taken(read(&mut far, 1)), 1);
        assert_eq!(taken(write(&mut near, b"ef")), 1);
        net.close();
    });
}

#[test]
fn leaving_with_bytes_unread_is_a_reset() {
    run(async {
        let (mut near, mut far, net) = pair(WireShape::smooth()).await;
        assert_eq!(taken(write(&mut near, b"abcd")), 4);
        drop(far);
        assert_eq!(near.peek(), Peek::Gone);
        assert!(matches!(read(&mut near, 4), Poll::Ready(Err(_))));
        assert!(matches!(write(&mut near, b"x"), Poll::Ready(Err(_))));
        (near, far, _) = pair(WireShape::smooth()).await;
        drop(far);
        assert_eq!(near.peek(), Peek::End);
        assert_eq!(taken(write(&mut near, b"x")), 1);
        assert_eq!(near.peek(), Peek::Gone, "nobody is there to take it");
        net.close();
    });
}

#[test]
fn delays_and_pieces_keep_the_order() {
    run(async {
        let shape = WireShape { piece: 2..=2, delay_ms: 5..=5, ..WireShape::smooth() };
        let (mut near, far, net) = pair(shape).await;
        let sent = b"0123456789".to_vec();
        assert_eq!(taken(write(&mut near, &sent)), 10);
        drop(near);
        let far = ScriptStream::new(far);
        let (mut got, mut reads) = (Vec::new(), 0);
        while far.read(&mut got).await.expect("no error") > 0 {
            reads += 1;
        }
        assert_eq!(got, sent);
        assert!(reads > 1, "in one piece");
        assert!(net.elapsed() <= Duration::from_millis(30));
        net.close();
    });
}

#[test]
fn connects_are_refused_or_hang() {
    run(async {
        let net = MemoryNet::new(1, WireShape::smooth());
        assert!(net.dial(address(), address()).await.is_err(), "nobody listens");
        let refuses = DialShape { refuse_percent: 100, ..DialShape::smooth() };
        let listener = net.bind(address(), refuses);
        assert!(net.dial(address(), address()).await.is_err());
        drop(listener);
        let hangs = DialShape { hang_percent: 100, ..DialShape::smooth() };
        let _listener = net.bind(address(), hangs);
        let dialled = tokio::time::timeout(Duration::from_secs(60), net.dial(address(), address()));
        assert!(dialled.await.is_err());
        net.close();
    });
}

#[test]
fn a_connection_breaks_at_its_byte() {
    run(async {
        let shape = WireShape { break_percent: 100, break_at: 3..=3, ..WireShape::smooth() };
        let (near, far, net) = pair(shape).await;
        let (near, far) = (ScriptStream::new(near), ScriptStream::new(far));
        let _ = near.write_all(b"abcdef").await;
        poll_fn(|_| Poll::Ready(())).await;
        let mut got = Vec::new();
        while far.read(&mut got).await.is_ok_and(|length| length > 0) {}
        assert!(far.read(&mut got).await.is_err() && near.read(&mut got).await.is_err());
        net.close();
    });
}
