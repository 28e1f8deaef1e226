//! An edge on a loopback socket, and what a client gets that sends it some bytes and no more.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::settings;
use tidepool_http::{Answer, Backend, BodyRule, Config, ContentType, Deferral, Endpoint, Response, Route, Server};

/// Longer than any answer takes on a busy machine, and shorter than any limit of the edge's on a client's time.
const PATIENCE: Duration = Duration::from_secs(60);
/// An edge that is silent for so long may be waiting for more. It is told then that no more comes.
const QUIET: Duration = Duration::from_millis(4);
/// How often it is looked whether an edge without clients holds nothing.
const LOOK_EACH: u64 = 512;
/// Longest payload that calls may have here.
pub(super) const MAX_PAYLOAD_BYTES: usize = 4 << 10;
/// Longest module.
const MAX_UPLOAD_BYTES: usize = 8 << 10;

static EDGE: LazyLock<Edge> = LazyLock::new(Edge::start);

struct Edge {
    server: Server,
    address: SocketAddr,
    exchanges: AtomicU64,
    _io: tokio::runtime::Runtime,
}

/// Answers with what it was asked.
struct Mirror;

impl Backend for Mirror {
    fn request(&self, route: Route, deferral: Deferral<'_>) -> Answer {
        let response = Response::new(200, ContentType::Text, shown(&route));
        match route {
            // Half of these as a process would answer, the others as a brief guest.
            Route::Call { payload, .. } if payload.len() % 2 == 1 => {
                let (responder, answer) = deferral.responder(|| {});
                responder.answer(response);
                answer
            }
            // What is not read is refused.
            Route::Admit { .. } | Route::Oversized { .. } => {
                Answer::Now(Response::new(404, ContentType::Json, r#"{"error":{"reason":"not_found"}}"#))
            }
            _ => Answer::Now(response),
        }
    }

    fn payload_limit(&self, function: &str) -> Option<u64> {
        match function {
            "absent" => None,
            "tiny" => Some(10),
            _ => Some(u64::MAX),
        }
    }
}

/// What the answer to a request says of it.
pub(super) fn shown(route: &Route) -> String {
    match route {
        // Who asks is another each time.
        Route::Deploy(deploy, _) => format!("{deploy:?}"),
        Route::Resource(request) => format!("Resource {:?} {:?}", request.endpoint, request.segments),
        other => format!("{other:?}"),
    }
}

impl Edge {
    fn start() -> Self {
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let io = io.expect("an I/O thread");
        let config = Config {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            max_upload_bytes: MAX_UPLOAD_BYTES,
            max_payload_bytes: MAX_PAYLOAD_BYTES,
            max_header_bytes: 8 << 10,
            header_timeout: PATIENCE * 2,
            body_timeout: PATIENCE * 2,
            idle_timeout: PATIENCE * 2,
            write_timeout: PATIENCE * 2,
            endpoints: vec![
                Endpoint { query: true, headers: vec!["last-event-id".into()], ..Endpoint::get("/functions") },
                Endpoint::get("/functions/:function"),
                Endpoint::change("DELETE", "/functions/:function"),
                Endpoint { guarded: true, ..Endpoint::get("/functions/:function/wasm") },
                Endpoint { observes: true, places: Some(8), ..Endpoint::get("/metrics") },
                Endpoint {
                    body: BodyRule::Whole(MAX_PAYLOAD_BYTES),
                    ..Endpoint::change("PUT", "/functions/:function")
                },
                Endpoint { body: BodyRule::Pieces(MAX_PAYLOAD_BYTES), ..Endpoint::change("POST", "/functions") },
            ],
            ..settings::config()
        };
        let server = Server::start(config, Arc::new(Mirror), io.handle(), &[]).expect("a loopback socket");
        let address = server.local_addr();
        Edge { server, address, exchanges: AtomicU64::new(0), _io: io }
    }

    /// Nobody is connected: nothing is held.
    fn check_empty(&self) {
        let began = Instant::now();
        loop {
            let stats = self.server.stats();
            if stats.connections_open == 0 && stats.requests_in_flight == 0 && stats.buffered_bytes == 0 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "nobody is connected, and this is still held: {stats:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What a client got.
pub(super) struct Got {
    /// All bytes until the edge closed.
    pub(super) bytes: Vec<u8>,
    /// The connection was reset, or the edge was told that no more comes while it may have been at work: some may be lost.
    pub(super) cut: bool,
}

/// Connects, sends `pieces` one after another and reads until the edge closes. When nothing comes for a while, the edge is
/// told that nothing more is sent.
pub(super) fn exchange(pieces: &[&[u8]]) -> Got {
    exchange_until(pieces, |_| false)
}

/// The same, but the edge is told as soon as what came is `enough`, too.
pub(super) fn exchange_until(pieces: &[&[u8]], enough: impl Fn(&[u8]) -> bool) -> Got {
    let edge = &*EDGE;
    let mut stream = TcpStream::connect(edge.address).expect("the edge takes connections");
    stream.set_read_timeout(Some(QUIET)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    for piece in pieces {
        // Whoever has been answered early may find nobody who reads on.
        if stream.write_all(piece).is_err() {
            break;
        }
        if pieces.len() > 1 {
            std::thread::yield_now();
        }
    }
    let mut got = Got { bytes: Vec::new(), cut: false };
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => got.bytes.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                got.cut = true;
                break;
            }
            // Nothing came.
            Err(error) => {
                assert!(!got.cut, "the edge neither answers nor closes: {error}");
                end(&mut stream, &mut got);
            }
        }
        if !got.cut && enough(&got.bytes) {
            end(&mut stream, &mut got);
        }
    }
    drop(stream);
    if edge.exchanges.fetch_add(1, Ordering::Relaxed) % LOOK_EACH == LOOK_EACH - 1 {
        edge.check_empty();
    }
    got
}

/// Tells the edge that nothing more is sent.
fn end(stream: &mut TcpStream, got: &mut Got) {
    got.cut = true;
    let _ = stream.shutdown(Shutdown::Write);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
}
