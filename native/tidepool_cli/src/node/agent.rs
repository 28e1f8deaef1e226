//! The HTTP client of all that the tool asks over a network.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

use super::Authorities;

/// A client that follows nothing and goes by no proxy. `authorities` vouch for servers, if they are named, and else those that all
/// know; a connection has to be made within `connect`.
pub(crate) fn agent(authorities: Option<Authorities>, connect: Duration) -> Agent {
    let tls = authorities.map_or_else(TlsConfig::default, |authorities| authorities.tls());
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .tls_config(tls)
        .timeout_connect(Some(connect))
        .user_agent(concat!("tidepool/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}
