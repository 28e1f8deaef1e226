//! Requests to one node, and nobody else: no redirect is followed, no proxy is asked, and all that it sends has bounds
//! of size and time.

use std::io::{self, Read};
use std::time::Duration;

use rustls::CertificateError;
use serde_json::Value;
use tidepool_errors::Reason;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use ureq::{Agent, Body, Timeout};

use super::{Address, Asked, Authorities, Events, NodeError, Path, Token, agent};

/// The longest answer that is JSON, in bytes.
const JSON_BYTES: u64 = 64 << 20;
/// The longest reply of a function, in bytes.
const REPLY_BYTES: u64 = 1 << 30;
/// From this size on, in bytes, a body is sent to nodes alone that know the token.
const ASKED_FIRST: usize = 1 << 20;
/// What is read at once of a body that is passed on as it comes.
const PIECE_BYTES: usize = 64 << 10;
/// What a node says of each response of a handler, and of nothing else: a browser is to take it for an origin's of its own.
const CONFINED: &str = "sandbox";
/// How long a node may take to be connected to.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a stream is listened to at a time.
const STREAM: Duration = Duration::from_secs(60);

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    address: Address,
    token: Option<Token>,
    agent: Agent,
    timeout: Option<Duration>,
}

/// What a node answers.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status, 200 to 299.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// What a handler of HTTP responds, whose body is still to come.
pub(crate) struct Response<'a> {
    node: &'a Node,
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    body: Body,
}

impl Response<'_> {
    /// Gives the body to `take` as it comes.
    ///
    /// # Errors
    ///
    /// When it breaks off or takes too long, and whatever `take` returns.
    pub(crate) fn read<E: From<NodeError>>(self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let (mut body, mut piece, mut bytes) = (self.body.into_reader(), vec![0; PIECE_BYTES], 0_u64);
        loop {
            match body.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    bytes = bytes.saturating_add(read as u64);
                    take(piece.get(..read).unwrap_or_default())?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.node.broken(error, bytes).into()),
            }
        }
    }
}

impl Node {
    /// A node at an address. `authorities` vouch for it, if they are named, and else those that all know. `timeout` is for each
    /// request as a whole; without one it is up to the request.
    pub(crate) fn new(
        address: Address,
        token: Option<Token>,
        authorities: Option<Authorities>,
        timeout: Option<Duration>,
    ) -> Self {
        let agent = agent(authorities, CONNECT);
        Self { address, token, agent, timeout }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether there is a token to send.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for JSON.
    ///
    /// # Errors
    ///
    /// Whatever keeps the node from answering with it.
    pub(crate) fn get(&self, path: &Path) -> Result<Value, NodeError> {
        self.json("GET", path, None, Vec::new(), self.usual()).map(|(_status, value)| value)
    }

    /// Asks for JSON that the node may send with an error's status, as its health.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`], but for statuses.
    pub(crate) fn observe(&self, path: &Path) -> Result<(u16, Value), NodeError> {
        let (status, body) = self.exchange("GET", path, None, Vec::new(), self.usual(), JSON_BYTES)?;
        self.parse(status, &body).map(|value| (status, value))
    }

    /// Removes something.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`].
    pub(crate) fn delete(&self, path: &Path) -> Result<Value, NodeError> {
        self.json("DELETE", path, None, Vec::new(), self.usual()).map(|(_status, value)| value)
    }

    /// Sends something of a content type, for which the node may take minutes; its status, and its JSON.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`].
    pub(crate) fn post(&self, path: &Path, kind: &str, body: Vec<u8>) -> Result<(u16, Value), NodeError> {
        self.json("POST", path, Some(kind), body, self.patient())
    }

    /// The same of something for which the node may take as long as that.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`].
    pub(crate) fn post_within(
        &self,
        path: &Path,
        kind: &str,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<(u16, Value), NodeError> {
        self.json("POST", path, Some(kind), body, self.timeout.unwrap_or(within))
    }

    /// Asks for a change that needs no more than its path; its status, and its JSON.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`].
    pub(crate) fn change(&self, path: &Path) -> Result<(u16, Value), NodeError> {
        self.json("POST", path, Some("application/json"), Vec::new(), self.patient())
    }

    /// Whether the node takes a body of so many bytes from whoever has the token. It is asked where that is long: a node that says no to
    /// what is long hangs up while it is sent, and what it said is lost.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(crate) fn takes(&self, bytes: usize) -> Result<(), NodeError> {
        if bytes > ASKED_FIRST { self.knows_token() } else { Ok(()) }
    }

    /// Whether the node knows the token, by a route that takes it and changes nothing: the module of a function whose name
    /// none has.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(crate) fn knows_token(&self) -> Result<(), NodeError> {
        match self.get(&Path::of(&["functions", "-", "wasm"])) {
            Err(error) if matches!(error.told(), Some(Reason::NotDeployed | Reason::Forbidden)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Fetches a file.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`].
    pub(crate) fn fetch(&self, path: &Path) -> Result<Vec<u8>, NodeError> {
        let (status, body) = self.exchange("GET", path, None, Vec::new(), self.patient(), REPLY_BYTES)?;
        if (200..300).contains(&status) { Ok(body) } else { Err(self.refusal(status, &body)) }
    }

    /// Calls something; the reply may be anything.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`].
    pub(crate) fn call(&self, path: &Path, payload: Vec<u8>) -> Result<Answer, NodeError> {
        let kind = Some("application/octet-stream");
        let (status, body) = self.exchange("POST", path, kind, payload, self.patient(), REPLY_BYTES)?;
        if (200..300).contains(&status) { Ok(Answer { status, body }) } else { Err(self.refusal(status, &body)) }
    }

    /// Asks a handler of HTTP. `None` when it was a function that has replied.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`], but for what the handler responds.
    pub(crate) fn ask(&self, function: &str, asked: Asked) -> Result<Option<Response<'_>>, NodeError> {
        let Asked { method, target, headers, body } = asked;
        let timeout = self.patient();
        let failed = |source| self.failed(source, timeout, JSON_BYTES);
        let path = Path::of(&["call", function]);
        let url = self.address.url(&format!("{}{}", path.as_str(), target.as_str()));
        let is_given = body.is_some();
        let has_body = is_given || matches!(method, Method::POST | Method::PUT | Method::PATCH);
        let request = Request::builder().method(method).uri(url).body(body.unwrap_or_default());
        let mut request = request.map_err(|source| failed(ureq::Error::Http(source)))?;
        *request.headers_mut() = headers;
        if is_given && !request.headers().contains_key(CONTENT_TYPE) {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| !request.headers().contains_key(AUTHORIZATION)) {
            let bearer =
                HeaderValue::try_from(token.bearer()).map_err(|source| failed(ureq::Error::Http(source.into())))?;
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        let sent = if has_body { self.run(request, timeout) } else { self.run(request.map(|_empty| ()), timeout) };
        let mut response = sent.map_err(failed)?;
        let status = response.status();
        if response.headers().get_all("content-security-policy").iter().any(|policy| policy == CONFINED) {
            let (head, body) = response.into_parts();
            return Ok(Some(Response { node: self, status, headers: head.headers, body }));
        }
        if status.is_success() {
            return Ok(None);
        }
        self.follows_nothing(&response)?;
        let body = response.body_mut().with_config().limit(JSON_BYTES).read_to_vec().map_err(failed)?;
        Err(self.refusal(status.as_u16(), &body))
    }

    /// A stream of events, from the beginning or since an id; nothing is waited for beyond a minute, so that a node that is gone without
    /// a word is noticed: ask again then, with the last id.
    ///
    /// # Errors
    ///
    /// As of [`Node::get`].
    pub(crate) fn events(&self, path: &Path, last_id: Option<&str>) -> Result<Events<impl Read + use<>>, NodeError> {
        let failed = |source| self.failed(source, STREAM, JSON_BYTES);
        let mut request = Request::builder().uri(self.address.url(path.as_str()));
        if let Some(token) = &self.token {
            request = request.header("authorization", token.bearer());
        }
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(()).map_err(|source| failed(ureq::Error::Http(source)))?;
        let mut response = self.run(request, STREAM).map_err(failed)?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(Events::new(response.into_body().into_reader()));
        }
        let body = response.body_mut().with_config().limit(JSON_BYTES).read_to_vec().map_err(failed)?;
        Err(self.refusal(status, &body))
    }

    fn json(
        &self,
        method: &str,
        path: &Path,
        kind: Option<&str>,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<(u16, Value), NodeError> {
        let (status, body) = self.exchange(method, path, kind, body, timeout, JSON_BYTES)?;
        if (200..300).contains(&status) {
            self.parse(status, &body).map(|value| (status, value))
        } else {
            Err(self.refusal(status, &body))
        }
    }

    fn usual(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(30))
    }

    fn patient(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(600))
    }

    fn parse(&self, status: u16, body: &[u8]) -> Result<Value, NodeError> {
        match serde_json::from_slice(body) {
            Ok(value @ Value::Object(_)) => Ok(value),
            _ => Err(NodeError::Nonsense { address: self.address.to_string(), status }),
        }
    }

    fn refusal(&self, status: u16, body: &[u8]) -> NodeError {
        match self.parse(status, body).map(|mut value| value.get_mut("error").map(Value::take)) {
            Ok(Some(said)) if said.get("reason").is_some_and(Value::is_string) => NodeError::Refused { said },
            _ => NodeError::Nonsense { address: self.address.to_string(), status },
        }
    }

    fn exchange(
        &self,
        method: &str,
        path: &Path,
        kind: Option<&str>,
        body: Vec<u8>,
        timeout: Duration,
        limit: u64,
    ) -> Result<(u16, Vec<u8>), NodeError> {
        let failed = |source| self.failed(source, timeout, limit);
        let mut request = Request::builder().method(method).uri(self.address.url(path.as_str()));
        if let Some(token) = &self.token {
            request = request.header("authorization", token.bearer());
        }
        let sent = match kind {
            None => request.body(()).map_err(ureq::Error::Http).and_then(|request| self.run(request, timeout)),
            Some(kind) => {
                request = request.header("content-type", kind);
                request.body(body).map_err(ureq::Error::Http).and_then(|request| self.run(request, timeout))
            }
        };
        let mut response = sent.map_err(failed)?;
        let status = response.status().as_u16();
        self.follows_nothing(&response)?;
        let body = response.body_mut().with_config().limit(limit).read_to_vec().map_err(failed)?;
        Ok((status, body))
    }

    fn follows_nothing(&self, response: &ureq::http::Response<Body>) -> Result<(), NodeError> {
        match response.headers().get("location").filter(|_location| response.status().is_redirection()) {
            None => Ok(()),
            Some(location) => {
                let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
                Err(NodeError::Redirect { address: self.address.to_string(), location })
            }
        }
    }

    /// Why the rest of a body does not come.
    fn broken(&self, error: io::Error, bytes: u64) -> NodeError {
        match ureq::Error::from(error) {
            source @ ureq::Error::Timeout(_) => self.failed(source, self.patient(), u64::MAX),
            source => NodeError::BrokenOff { address: self.address.to_string(), bytes, source: Box::new(source) },
        }
    }

    fn run<S: ureq::AsSendBody>(
        &self,
        request: Request<S>,
        timeout: Duration,
    ) -> Result<ureq::http::Response<Body>, ureq::Error> {
        let config =
            self.agent.configure_request(request).timeout_global(Some(timeout)).allow_non_standard_methods(true);
        self.agent.run(config.build())
    }

    fn failed(&self, source: ureq::Error, timeout: Duration, limit: u64) -> NodeError {
        let address = self.address.to_string();
        match source {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                NodeError::Unreachable { address, source: Box::new(source) }
            }
            ureq::Error::Timeout(_) => NodeError::Slow { address, seconds: timeout.as_secs_f64() },
            ureq::Error::BodyExceedsLimit(_) => NodeError::TooLong { address, limit_bytes: limit },
            source => match refused_certificate(&source) {
                Some(problem) => NodeError::Untrusted { address, problem },
                None => NodeError::Unreachable { address, source: Box::new(source) },
            },
        }
    }
}

/// What is wrong with the node's certificate, if that is what went wrong.
fn refused_certificate(error: &ureq::Error) -> Option<CertificateError> {
    let failed: &rustls::Error = match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref()?,
        ureq::Error::Rustls(error) => error,
        _ => return None,
    };
    match failed {
        rustls::Error::InvalidCertificate(problem) => Some(problem.clone()),
        _ => None,
    }
}
