//! Access: whether a request may change what is deployed. Decided from the head alone, before a body is read.

use crate::backend::contract::Caller;
use crate::connection::state::ConnectionState;
use crate::edge::shared::Edge;
use crate::message::reason::{Reason, Refusal};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;
use subtle::ConstantTimeEq;

/// Lets a change pass, and returns its caller.
///
/// With a token configured, the request must carry it. Without one, every client that reaches the address
/// may change things, except web pages of other sites: a browser would send their forms here.
///
/// # Errors
///
/// [`Reason::Unauthorized`] or [`Reason::CrossSite`].
pub(crate) fn check_change(edge: &Edge, connection: &ConnectionState, head: &Parts) -> Result<Caller, Refusal> {
    let has_token = check(edge.config.token.as_deref(), head)?;
    Ok(Caller { peer: edge.peers.peer(connection.peer, &head.headers), has_token })
}

/// The caller of a request that needs no token.
pub(crate) fn caller(edge: &Edge, connection: &ConnectionState, head: &Parts) -> Caller {
    let has_token = edge.config.token.as_deref().is_some_and(|token| carries(&head.headers, token));
    Caller { peer: edge.peers.peer(connection.peer, &head.headers), has_token }
}

/// Whether a request that may pass has the token.
fn check(token: Option<&str>, head: &Parts) -> Result<bool, Refusal> {
    match token {
        Some(token) if carries(&head.headers, token) => Ok(true),
        Some(_) => Err(Refusal::new(
            Reason::Unauthorized,
            "send the server's token in a header: `Authorization: Bearer TOKEN`",
        )
        .header("www-authenticate", "Bearer realm=\"tidepool\"")),
        None if from_another_site(head) => Err(Refusal::new(
            Reason::CrossSite,
            "a page of another site may not change functions: set a token and send it, or ask without a browser",
        )),
        None => Ok(false),
    }
}

fn carries(headers: &HeaderMap, token: &str) -> bool {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, given)) = value.as_bytes().split_at_checked(b"Bearer ".len()) else {
        return false;
    };
    // The comparison takes as long for a wrong first byte as for a wrong last one; lengths are no secret.
    scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(given.trim_ascii().ct_eq(token.as_bytes()))
}

fn from_another_site(head: &Parts) -> bool {
    let headers = &head.headers;
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = headers.get(HOST).map(|host| host.as_bytes()).or(authority);
    origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes()) != host
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn verdict(token: Option<&str>, headers: &[(&str, &str)]) -> Option<Reason> {
        let mut request = hyper::Request::builder().uri("/deploy").header("host", "localhost:4000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(token, &head).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn only_the_whole_token_passes() {
        assert_eq!(verdict(Some("s3cret"), &[("authorization", "Bearer s3cret")]), None);
        assert_eq!(verdict(Some("s3cret"), &[("authorization", "bearer  s3cret")]), None);
        for wrong in ["Bearer s3cre", "Bearer s3crets", "Bearer ", "Basic s3cret", "s3cret", ""] {
            assert_eq!(verdict(Some("s3cret"), &[("authorization", wrong)]), Some(Reason::Unauthorized), "{wrong}");
        }
        assert_eq!(verdict(Some("s3cret"), &[]), Some(Reason::Unauthorized));
    }

    #[test]
    fn without_a_token_pages_of_other_sites_are_refused() {
        assert_eq!(verdict(None, &[]), None);
        assert_eq!(verdict(None, &[("sec-fetch-site", "cross-site")]), Some(Reason::CrossSite));
        assert_eq!(verdict(None, &[("sec-fetch-site", "same-site")]), Some(Reason::CrossSite));
        assert_eq!(verdict(None, &[("sec-fetch-site", "same-origin")]), None);
        assert_eq!(verdict(None, &[("origin", "http://evil.example")]), Some(Reason::CrossSite));
        assert_eq!(verdict(None, &[("origin", "null")]), Some(Reason::CrossSite));
        assert_eq!(verdict(None, &[("origin", "http://localhost:4000")]), None);
    }
}
