//! A service made of tonic, without generated code: its messages are bytes.

use bytes::{Buf, BufMut, Bytes};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{self, Stream, StreamExt};
use tonic::codegen::{BoxFuture, BoxStream, Context, Poll, Service, http};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::{
    ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService,
    UnaryService,
};
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, IntoRequest, Request, Response, Status, Streaming};
use tonic_health::server::{HealthReporter, health_reporter};

/// Messages of one answer of `Server`.
pub(crate) const MANY: usize = 200;
/// And bytes of each: together more than all windows of all hops.
pub(crate) const LARGE: usize = 64 * 1024;
/// What a failed call says; percent and what is no ASCII travel in percent.
pub(crate) const COMPLAINT: &str = "100% broken: größer";
/// The details of the same.
pub(crate) const DETAILS: &[u8] = &[8, 13, 0, 255];

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// What a server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: AtomicUsize,
    /// Calls that run, and nobody has given up.
    pub(crate) running: AtomicUsize,
}

/// Counts a call while it runs.
struct Running(Arc<Seen>);

impl Running {
    fn of(seen: &Arc<Seen>) -> Running {
        seen.calls.fetch_add(1, Ordering::SeqCst);
        seen.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The service.
#[derive(Clone)]
struct Echo {
    name: &'static str,
    seen: Arc<Seen>,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let own = self.clone();
        let mut grpc = Grpc::new(Raw);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(own, request).await,
                "/test.Echo/Client" => grpc.client_streaming(own, request).await,
                "/test.Echo/Server" => grpc.server_streaming(own, request).await,
                "/test.Echo/Both" => grpc.streaming(own, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

impl Echo {
    /// A response that says who answers, and what it was told of the call.
    fn response<T>(&self, told: &MetadataMap, message: T) -> Response<T> {
        let mut response = Response::new(message);
        let metadata = response.metadata_mut();
        metadata.insert("x-backend", MetadataValue::from_static(self.name));
        if let Some(word) = told.get("x-word") {
            metadata.insert("x-word", word.clone());
        }
        if let Some(word) = told.get_bin("x-word-bin") {
            metadata.insert_bin("x-word-bin", word.clone());
        }
        response
    }
}

/// Ends badly, with all that a status can say.
fn complaint() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", MetadataValue::from_static("asked for"));
    metadata.insert_bin("x-why-bin", MetadataValue::from_bytes(&[0, 1, 254]));
    Status::with_details_and_metadata(Code::DataLoss, COMPLAINT, DETAILS.into(), metadata)
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            let _running = Running::of(&own.seen);
            match &**request.get_ref() {
                b"fail" => return Err(complaint()),
                b"refuse" if own.name == "a" => return Err(Status::unavailable("not me")),
                b"wait" => std::future::pending().await,
                b"timeout" => {
                    let told = request.metadata().get("grpc-timeout");
                    let told = told.map_or(&b"none"[..], MetadataValue::as_encoded_bytes);
                    return Ok(Response::new(Bytes::copy_from_slice(told)));
                }
                _ => {}
            }
            let message = [b"echo ", &**request.get_ref()].concat().into();
            Ok(own.response(request.metadata(), message))
        })
    }
}

impl ClientStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            let _running = Running::of(&own.seen);
            let (told, _, mut messages) = request.into_parts();
            let (mut count, mut bytes) = (0, 0);
            while let Some(message) = messages.try_next().await? {
                (count, bytes) = (count + 1, bytes + message.len());
            }
            Ok(own.response(&told, format!("{count} of {bytes}").into()))
        })
    }
}

impl ServerStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = BoxStream<Bytes>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let running = Running::of(&self.seen);
        let then_fails = &**request.get_ref() == b"fail";
        let messages = (0..MANY).map(|number| Ok(large(number)));
        let end = then_fails.then(|| Err(complaint()));
        let stream = tokio_stream::iter(messages.chain(end)).map(move |message| {
            let _running = &running;
            message
        });
        let response = self.response(request.metadata(), Box::pin(stream) as BoxStream<Bytes>);
        Box::pin(async move { Ok(response) })
    }
}

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = BoxStream<Bytes>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let running = Running::of(&self.seen);
        let (told, _, messages) = request.into_parts();
        let stream = messages.map(move |message| {
            let _running = &running;
            message.map(|message| [b"echo ", &*message].concat().into())
        });
        let response = self.response(&told, Box::pin(stream) as BoxStream<Bytes>);
        Box::pin(async move { Ok(response) })
    }
}

/// One message of many.
pub(crate) fn large(number: usize) -> Bytes {
    vec![u8::try_from(number % 251).expect("a byte"); LARGE].into()
}

/// A server in a thread of its own; serves until the process ends.
pub(crate) struct Backend {
    pub(crate) address: String,
    pub(crate) seen: Arc<Seen>,
    pub(crate) health: HealthReporter,
}

impl Backend {
    pub(crate) fn start(name: &'static str, tls: Option<ServerTlsConfig>) -> Backend {
        let seen = Arc::new(Seen::default());
        let echo = Echo { name, seen: Arc::clone(&seen) };
        let (health, probed) = health_reporter();
        let (told, asked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            crate::runtime().block_on(async move {
                let free = "127.0.0.1:0".parse().expect("an address");
                let incoming = TcpIncoming::bind(free).expect("a free port");
                told.send(incoming.local_addr().expect("bound")).expect("asked for");
                let mut server = Server::builder();
                if let Some(tls) = tls {
                    server = server.tls_config(tls).expect("a certificate");
                }
                let router = server.add_service(echo).add_service(probed);
                router.serve_with_incoming(incoming).await.expect("served");
            });
        });
        let address = asked.recv().expect("it is bound").to_string();
        Backend { address, seen, health }
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn running(&self) -> usize {
        self.seen.running.load(Ordering::SeqCst)
    }
}

/// A client with one connection.
#[derive(Clone)]
pub(crate) struct Caller(tonic::client::Grpc<Channel>);

impl Caller {
    pub(crate) fn over(channel: Channel) -> Caller {
        Caller(tonic::client::Grpc::new(channel))
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))
    }

    pub(crate) async fn unary(
        &mut self,
        request: impl IntoRequest<Bytes>,
    ) -> Result<Response<Bytes>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/Unary");
        self.0.unary(request.into_request(), path, Raw).await
    }

    /// The same with a bound on its time.
    pub(crate) async fn unary_within(
        &mut self,
        message: &'static [u8],
        timeout: Duration,
    ) -> Result<Response<Bytes>, Status> {
        let mut request = Request::new(Bytes::from_static(message));
        request.set_timeout(timeout);
        self.unary(request).await
    }

    pub(crate) async fn client(
        &mut self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Response<Bytes>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/Client");
        self.0.client_streaming(Request::new(messages), path, Raw).await
    }

    pub(crate) async fn server(
        &mut self,
        message: &'static [u8],
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/Server");
        self.0.server_streaming(Request::new(Bytes::from_static(message)), path, Raw).await
    }

    pub(crate) async fn both(
        &mut self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Echo/Both");
        self.0.streaming(Request::new(messages), path, Raw).await
    }

    /// A call of what is not there.
    pub(crate) async fn elsewhere(
        &mut self,
        path: &'static str,
    ) -> Result<Response<Bytes>, Status> {
        self.ready().await?;
        self.0.unary(Request::new(Bytes::new()), PathAndQuery::from_static(path), Raw).await
    }
}
