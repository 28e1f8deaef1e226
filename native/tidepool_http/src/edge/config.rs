//! Settings of the edge, with units.

use crate::backend::token::Token;
use crate::budget::peers::Network;
use crate::edge::endpoint::{Endpoint, Table};
use crate::edge::tls::Identity;
use std::net::SocketAddr;
use std::time::Duration;

/// How the edge listens and what it bounds. Every bound must be above zero.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub address: SocketAddr,
    /// Who the server is by TLS; without it the server speaks HTTP in the clear.
    pub tls: Option<Identity>,
    /// What is served there.
    pub serves: Serves,
    /// Bearer token that deploy and delete need. Without one, only loopback may be bound.
    pub token: Option<String>,
    /// Tokens that there are to begin with, beside that one: see [`crate::Server::grant`].
    pub tokens: Vec<Token>,
    /// Whether calls need a token, too.
    pub closed_calls: bool,
    /// Whether it is read what traces calls and deploys are part of.
    pub trace_contexts: bool,
    /// Names that requests may be for, beside addresses and `localhost`; `*` is any. Without names a server on loopback has
    /// no others, and one that other machines reach answers to any.
    pub hosts: Vec<String>,
    /// Proxies, whose connections each count as a client of their own, as those of loopback do. All connections of any other
    /// address are one client together.
    pub proxies: Vec<Network>,
    /// Largest uploaded file.
    pub max_upload_bytes: usize,
    /// What the form of a deploy may have beside the file: the other fields, and what is between them.
    pub form_overhead_bytes: usize,
    /// Largest payload of a call.
    pub max_payload_bytes: usize,
    /// Bodies of requests, and of answers until they are written, held at once over all connections;
    /// above it 503. One client of a namespace gets a third at most, so it is three times the largest body at least.
    pub max_buffered_bytes: usize,
    /// Largest request line with headers, so of a GET's payload too; above it 431. At least 8 KiB.
    pub max_header_bytes: usize,
    /// Time for a request's head, from its first byte; a new connection has as long for its first.
    pub header_timeout: Duration,
    /// Time for the whole body of a call.
    pub body_timeout: Duration,
    /// Time for the whole body of a deploy.
    pub upload_timeout: Duration,
    /// Longest time in which a client takes nothing of an answer. All of an answer has `upload_timeout`, or longer when it
    /// is large.
    pub write_timeout: Duration,
    /// How long a connection may idle between requests.
    pub idle_timeout: Duration,
    /// How long a server that drains still takes requests, and tells clients to go elsewhere, while any are
    /// connected.
    pub lame_duck: Duration,
    /// Connections open at once; further ones wait in the system's backlog.
    pub max_connections: usize,
    /// Requests in flight, those still sending their body included; above it 503.
    pub max_requests: usize,
    /// Deploys in flight whose body is there, out of `max_requests`; above it 503.
    pub max_uploads: usize,
    /// Cores that the process may use: so many calls with large answers are begun at a time.
    pub cores: usize,
    /// HTTP/2 streams open at once on one connection.
    pub max_streams: u32,
    /// What `Retry-After` says on a 503, in seconds.
    pub retry_after_s: u32,
    /// What is served beside calls, deploys and health. Of two that a request means the first one counts.
    pub endpoints: Vec<Endpoint>,
}

/// What a server serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Serves {
    /// All that there is: calls, deploys, health, the endpoints.
    #[default]
    Node,
    /// What [`Backend::site`](crate::Backend::site) names, and nothing else: the origin is the functions' own.
    Sites,
}

/// Shows whether there is a token, never the token.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

/// A setting the edge can't work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The setting must be above zero.
    #[error("{setting} must be above zero")]
    Zero {
        /// Name of the field.
        setting: &'static str,
    },
    /// The setting is below what works.
    #[error("{setting} must be at least {least}")]
    TooSmall {
        /// Name of the field.
        setting: &'static str,
        /// Smallest value that works.
        least: usize,
    },
    /// An endpoint that can't be, or that no request would get to.
    #[error("{endpoint} can't be served")]
    Endpoint {
        /// Its method and path.
        endpoint: String,
    },
    /// The token is empty or has characters that no header can carry.
    #[error("the token must be one or more printable ASCII characters without spaces")]
    Token,
    /// Calls need a token, and there is none.
    #[error("calls can take a token only where there is one: set a token, or open calls")]
    ClosedCalls,
    /// Anyone could deploy: the address is not loopback and there is no token.
    #[error("{address} is reachable from other machines: set a token, or listen on a loopback address")]
    TokenNeeded {
        /// The address that was asked for.
        address: SocketAddr,
    },
}

/// hyper's smallest read buffer.
const LEAST_HEADER_BYTES: usize = 8 << 10;

impl Config {
    /// Checks the settings against each other.
    ///
    /// # Errors
    ///
    /// The first [`ConfigError`] found, in the order of its variants.
    pub fn check(&self) -> Result<(), ConfigError> {
        let zero = [
            ("max_upload_bytes", self.max_upload_bytes == 0),
            ("max_payload_bytes", self.max_payload_bytes == 0),
            ("max_connections", self.max_connections == 0),
            ("max_requests", self.max_requests == 0),
            ("max_uploads", self.max_uploads == 0),
            ("cores", self.cores == 0),
            ("max_streams", self.max_streams == 0),
            ("header_timeout", self.header_timeout.is_zero()),
            ("body_timeout", self.body_timeout.is_zero()),
            ("upload_timeout", self.upload_timeout.is_zero()),
            ("write_timeout", self.write_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
        ];
        if let Some((setting, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(ConfigError::Zero { setting });
        }
        if self.max_header_bytes < LEAST_HEADER_BYTES {
            return Err(ConfigError::TooSmall { setting: "max_header_bytes", least: LEAST_HEADER_BYTES });
        }
        // One client of a namespace may hold a third.
        let least = self.largest_body_bytes().saturating_mul(3);
        if self.max_buffered_bytes < least {
            return Err(ConfigError::TooSmall { setting: "max_buffered_bytes", least });
        }
        Table::new(&self.endpoints).map_err(|endpoint| ConfigError::Endpoint { endpoint })?;
        let writable = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        match &self.token {
            Some(token) if !writable(token) => Err(ConfigError::Token),
            None if self.closed_calls => Err(ConfigError::ClosedCalls),
            None if self.serves == Serves::Node && !self.address.ip().is_loopback() => {
                Err(ConfigError::TokenNeeded { address: self.address })
            }
            _ => Ok(()),
        }
    }

    /// Largest body of a deploy: the file and the form around it.
    pub(crate) fn form_bytes(&self) -> usize {
        self.max_upload_bytes.saturating_add(self.form_overhead_bytes)
    }

    fn largest_body_bytes(&self) -> usize {
        let whole = self.endpoints.iter().map(|endpoint| endpoint.body.whole_bytes()).max();
        self.form_bytes().max(self.max_payload_bytes).max(whole.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::config;

    #[test]
    fn bounds_that_suit_each_other_are_valid() {
        assert_eq!(config().check(), Ok(()));
    }

    #[test]
    fn a_public_address_needs_a_token() {
        let address = SocketAddr::from(([0, 0, 0, 0], 4000));
        let open = Config { address, ..config() };
        assert_eq!(open.check(), Err(ConfigError::TokenNeeded { address }));
        let closed = Config { token: Some("s3cret".into()), ..open };
        assert_eq!(closed.check(), Ok(()));
    }

    #[test]
    fn an_empty_or_unwritable_token_is_refused() {
        for token in ["", "two words", "new\nline", "é"] {
            let with_token = Config { token: Some(token.into()), ..config() };
            assert_eq!(with_token.check(), Err(ConfigError::Token), "{token:?}");
        }
    }

    #[test]
    fn a_bound_of_zero_is_refused_by_name() {
        let none = Config { max_requests: 0, ..config() };
        assert_eq!(none.check(), Err(ConfigError::Zero { setting: "max_requests" }));
    }

    #[test]
    fn a_bound_that_leaves_no_room_for_the_largest_body_is_refused_with_what_it_needs() {
        let least = 3 * (config().max_upload_bytes + config().form_overhead_bytes);
        let enough = Config { max_buffered_bytes: least, ..config() };
        assert_eq!(enough.check(), Ok(()));
        let less = Config { max_buffered_bytes: least - 1, ..config() };
        assert_eq!(less.check(), Err(ConfigError::TooSmall { setting: "max_buffered_bytes", least }));
    }

    #[test]
    fn the_token_is_never_shown() {
        let secret = Config { token: Some("s3cret".into()), ..config() };
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
