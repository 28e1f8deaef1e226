//! Settings that tests, benches and fuzz targets begin with. Users' defaults are Elixir's.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidepool_http::Config;

/// On any free port of the loopback address, without a token and without endpoints.
pub(crate) fn config() -> Config {
    Config {
        serves: tidepool_http::Serves::Node,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        tls: None,
        token: None,
        tokens: Vec::new(),
        closed_calls: false,
        trace_contexts: false,
        hosts: Vec::new(),
        proxies: Vec::new(),
        max_upload_bytes: 64 << 20,
        form_overhead_bytes: 64 << 10,
        max_payload_bytes: 16 << 20,
        max_buffered_bytes: 1 << 30,
        max_header_bytes: 64 << 10,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        upload_timeout: Duration::from_secs(300),
        write_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(75),
        lame_duck: Duration::from_millis(500),
        max_connections: 10_000,
        max_requests: 10_000,
        max_uploads: 32,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        max_streams: 128,
        retry_after_s: 1,
        endpoints: Vec::new(),
    }
}
