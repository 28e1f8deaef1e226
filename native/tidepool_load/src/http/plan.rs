//! What an HTTP load does with each request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};

use super::Url;
use crate::content::Expect;
use crate::tcp::Sources;

/// What is done with each request.
#[derive(Debug, Clone)]
pub(crate) struct HttpPlan {
    /// Where to.
    pub(crate) target: SocketAddr,
    /// Where from.
    pub(crate) sources: Sources,
    /// The URL, for the request line and the host.
    pub(crate) url: Url,
    /// The method.
    pub(crate) method: Method,
    /// The headers beside the host.
    pub(crate) headers: HeaderMap,
    /// The request's body.
    pub(crate) body: Bytes,
    /// The status of a good answer; any 2xx if not given.
    pub(crate) status: Option<StatusCode>,
    /// The body of a good answer.
    pub(crate) expect: Expect,
    /// HTTP/2 with prior knowledge instead of HTTP/1.1.
    pub(crate) http2: bool,
    /// Connections that are kept; `None` opens one for each request.
    pub(crate) connections: Option<usize>,
    /// Close with a reset.
    pub(crate) linger0: bool,
    /// How long the whole exchange may take, the wait for a free connection included.
    pub(crate) timeout: Duration,
}

impl HttpPlan {
    /// One request.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if self.http2 {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = self.url.whole.clone();
        } else {
            *request.uri_mut() = self.url.origin.clone();
            request.headers_mut().entry(HOST).or_insert_with(|| self.url.host.clone());
        }
        request
    }
}
