//! A backend that tests hold in their hands, and a client that sends exactly the bytes it is told.

use crate::settings;
use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;
use tidepool_http::{
    Backend, BodyRule, Config, ContentType, Deferral, Endpoint, Refused, ResourceRequest, Responder, Response, Route,
    Scope, Server,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Longer than anything here takes on a slow machine; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("nothing came")
}

/// A request that waits for its answer.
pub(crate) struct Request {
    /// That of its responder.
    pub(crate) id: u64,
    pub(crate) route: Route,
}

/// Passes each request on to the test, which answers it or not.
struct Probe {
    requests: UnboundedSender<(Request, Responder)>,
    hangups: UnboundedSender<u64>,
    refusals: UnboundedSender<Refused>,
}

impl Backend for Probe {
    fn refused(&self, refused: Refused) {
        let _ = self.refusals.send(refused);
    }

    fn request(&self, route: Route, deferral: Deferral<'_>) -> tidepool_http::Answer {
        match &route {
            Route::Call { function, .. } if function == "panics" => panic!("asked to"),
            Route::Call { function, payload, .. } if function == "at_once" => {
                return tidepool_http::Answer::Now(Response::new(200, ContentType::Bytes, payload.clone()));
            }
            _ => {}
        }
        let hangups = self.hangups.clone();
        let hung_up = Arc::new(OnceLock::new());
        let (responder, answer) = deferral.responder({
            let id = Arc::clone(&hung_up);
            move || {
                let _ = id.get().map(|id| hangups.send(*id));
            }
        });
        let _ = hung_up.set(responder.id());
        let _ = self.requests.send((Request { id: responder.id(), route }, responder));
        answer
    }

    fn handles_http(&self, function: &str) -> Option<bool> {
        if function == "site" { Some(true) } else { self.payload_limit(function).map(|_| false) }
    }

    fn payload_limit(&self, function: &str) -> Option<u64> {
        match function {
            "absent" | "absent/op" | "absent/op/hello" | "calc/docs:adder/add" => None,
            "tiny" => Some(10),
            _ => Some(u64::MAX),
        }
    }
}

pub(crate) struct Edge {
    pub(crate) server: Arc<Server>,
    pub(crate) requests: UnboundedReceiver<(Request, Responder)>,
    pub(crate) hangups: UnboundedReceiver<u64>,
    pub(crate) refusals: UnboundedReceiver<Refused>,
}

/// Settings for tests: any free port.
pub(crate) fn config() -> Config {
    Config { endpoints: endpoints(), ..settings::config() }
}

/// What a body in pieces may have in all.
pub(crate) const MOST_BYTES: usize = 100_000_000;

/// Rows of every kind.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/functions"),
        Endpoint::get("/functions/:function"),
        Endpoint { guarded: true, ..Endpoint::get("/functions/:function/wasm") },
        Endpoint { scope: Some(Scope::Deploy), ..Endpoint::change("DELETE", "/functions/:function") },
        Endpoint { observes: true, ..Endpoint::get("/cluster") },
        Endpoint::change("DELETE", "/cluster/nodes/:node"),
        Endpoint { observes: true, ..Endpoint::get("/metrics") },
        Endpoint { places: Some(4), headers: vec!["last-event-id".into()], ..Endpoint::get("/stream") },
        Endpoint { places: Some(2), ..Endpoint::get("/scarce") },
        Endpoint { body: BodyRule::Pieces(MOST_BYTES), ..Endpoint::change("PUT", "/pieces/:function") },
        Endpoint { body: BodyRule::Payload, ..Endpoint::change("POST", "/payload/:function") },
        Endpoint { body: BodyRule::Whole(10), query: true, ..Endpoint::change("POST", "/whole") },
        Endpoint { deploys: true, ..Endpoint::change("POST", "/functions/:function/rollback") },
        Endpoint { headers: vec!["cookie".into()], ..Endpoint::get("/cookies") },
    ]
}

/// All there is, with paths to ask for: what the edge serves by itself, and the table's rows.
pub(crate) fn routes() -> Vec<Endpoint> {
    let own = ["/call/f", "/health"].map(Endpoint::get);
    let posts = ["/call/f", "/call/f/op"].map(|path| Endpoint { method: "POST".to_owned(), ..Endpoint::get(path) });
    let rows = endpoints().into_iter().map(|row| Endpoint { path: row.path.replace(':', "a-"), ..row });
    own.into_iter().chain(posts).chain([Endpoint::change("POST", "/deploy")]).chain(rows).collect()
}

/// What a row's request is.
pub(crate) fn resource(route: Route) -> ResourceRequest {
    let Route::Resource(request) = route else { panic!("{route:?}") };
    *request
}

/// Two threads that serve the connections of all tests, as nodes have them.
fn lanes() -> &'static [Handle] {
    static LANES: LazyLock<Vec<Handle>> = LazyLock::new(|| {
        let lane = |_| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let handle = runtime.handle().clone();
            std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
            handle
        };
        (0..2).map(lane).collect()
    });
    &LANES
}

impl Edge {
    pub(crate) fn start(config: Config) -> Self {
        let (requests_in, requests) = unbounded_channel();
        let (hangups_in, hangups) = unbounded_channel();
        let (refusals_in, refusals) = unbounded_channel();
        let probe = Arc::new(Probe { requests: requests_in, hangups: hangups_in, refusals: refusals_in });
        let server = Server::start(config, probe, &Handle::current(), lanes()).unwrap();
        Self { server: Arc::new(server), requests, hangups, refusals }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.server.local_addr()).await
    }

    /// The next request that reached the backend.
    pub(crate) async fn next(&mut self) -> (Request, Responder) {
        soon(self.requests.recv()).await.unwrap()
    }

    pub(crate) async fn hangup(&mut self) -> u64 {
        soon(self.hangups.recv()).await.unwrap()
    }

    /// What the backend was asked, answered with `ok`.
    pub(crate) async fn route(&mut self) -> Route {
        let (request, responder) = self.next().await;
        responder.answer(text("ok"));
        request.route
    }

    /// A client, and its request, which has reached the backend.
    pub(crate) async fn ask(&mut self, method: &str, path: &str) -> (Client, Request, Responder) {
        let mut client = self.client().await;
        client.ask(method, path).await;
        let (request, responder) = self.next().await;
        (client, request, responder)
    }

    /// The connection of `client` serves another request.
    pub(crate) async fn assert_in_step(&mut self, client: &mut Client) {
        client.ask("GET", "/health").await;
        self.route().await;
        assert_eq!(client.answer().await.body, "ok", "the connection is still in step");
    }

    /// Requests and their bodies give back all that they took.
    pub(crate) async fn assert_given_back(&self) {
        self.until(|stats| stats.requests_in_flight == 0 && stats.buffered_bytes == 0).await;
    }

    /// Nothing has reached the backend, and no hang-up either.
    pub(crate) fn assert_untouched(&mut self) {
        assert!(self.requests.try_recv().is_err(), "a request reached the backend");
        assert!(self.hangups.try_recv().is_err(), "a hang-up reached the backend");
    }

    /// Polls until the server looks as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&tidepool_http::Stats) -> bool) {
        let looking = async {
            while !wanted(&self.server.stats()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            panic!("still {:?}", self.server.stats());
        }
    }
}

/// A backend that answers every call at once with its own payload.
pub(crate) struct Echo;

impl Backend for Echo {
    fn request(&self, route: Route, deferral: Deferral<'_>) -> tidepool_http::Answer {
        let (responder, answer) = deferral.responder(|| {});
        responder.answer(match route {
            Route::Call { payload, .. } => Response::new(200, ContentType::Bytes, payload),
            _ => text("ok"),
        });
        answer
    }
}

pub(crate) fn text(body: &str) -> Response {
    Response::new(200, ContentType::Text, body.to_owned())
}

/// A raw HTTP/1.1 client.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    pub(crate) fn error(&self) -> Value {
        self.json()["error"].clone()
    }

    pub(crate) fn reason(&self) -> String {
        self.error()["reason"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: soon(TcpStream::connect(address)).await.unwrap(), received: Vec::new() }
    }

    /// Its own end of the connection.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&mut self, method: &str, path: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    }

    /// Sends a request with a body of known length.
    pub(crate) async fn post(&mut self, path: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{headers}\r\n");
        self.send([head.as_bytes(), body].concat()).await;
    }

    async fn more(&mut self) -> bool {
        soon(self.stream.read_buf(&mut self.received)).await.is_ok_and(|count| count > 0)
    }

    /// The status of the next answer, of whose body hardly a byte is read for that.
    pub(crate) async fn status(&mut self) -> u16 {
        while self.received.len() < "HTTP/1.1 200".len() {
            assert!(self.more().await, "closed instead of answered");
        }
        std::str::from_utf8(&self.received[9..12]).unwrap().parse().unwrap()
    }

    /// The next answer, interim ones included.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        let end = loop {
            match self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end,
                None => assert!(self.more().await, "closed instead of answered"),
            }
        };
        let head = String::from_utf8(self.received[..end].to_vec()).unwrap();
        self.received.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let bodiless = method == "HEAD" || status < 200;
        let length = headers.get("content-length").filter(|_| !bodiless).map_or(0, |length| length.parse().unwrap());
        while self.received.len() < length {
            assert!(self.more().await, "closed within a body");
        }
        let body = self.received.drain(..length).collect::<Vec<_>>().into();
        Answer { status, headers, body }
    }

    /// The next chunk of an answer in chunks; `None` for the last one.
    pub(crate) async fn chunk(&mut self) -> Option<Bytes> {
        let size = loop {
            match self.received.windows(2).position(|window| window == b"\r\n") {
                Some(end) => break String::from_utf8(self.received.drain(..end + 2).collect()).unwrap(),
                None => assert!(self.more().await, "closed within a chunk's head"),
            }
        };
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        while self.received.len() < size + 2 {
            assert!(self.more().await, "closed within a chunk");
        }
        let chunk: Vec<u8> = self.received.drain(..size).collect();
        self.received.drain(..2);
        (size > 0).then(|| chunk.into())
    }

    /// Bytes that came and were not read.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.received
    }

    /// Waits for the server to close.
    pub(crate) async fn closed(&mut self) {
        while self.more().await {}
    }

    /// Closes with a reset instead of a farewell.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

pub(crate) const BOUNDARY: &str = "XyZZy";

/// A form of fields `(disposition, content)`, such as `name="wasm"; filename="a.wasm"`.
pub(crate) fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (disposition, content) in fields {
        form.extend_from_slice(
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; {disposition}\r\n\r\n").as_bytes(),
        );
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    form
}

pub(crate) fn multipart() -> String {
    format!("content-type: multipart/form-data; boundary={BOUNDARY}\r\n")
}
