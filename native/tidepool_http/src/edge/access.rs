//! Access: whether a request may change what is deployed. Decided from the head alone, before a body is read.

use crate::backend::contract::Caller;
use crate::connection::state::ConnectionState;
use crate::edge::sessions::Sessions;
use crate::edge::shared::Edge;
use crate::message::reason::{Reason, Refusal};
use hyper::Method;
use hyper::header::{AUTHORIZATION, COOKIE as COOKIE_HEADER, HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;
use std::time::Instant;
use subtle::ConstantTimeEq;

/// Lets a change pass, and returns its caller.
///
/// With a token configured, the request must carry it, or a secret that stands for it: a code as the bearer, or the cookie of a
/// session, if one of the server's own pages sends it. Without a token, every client that reaches the address may change
/// things, except web pages of other sites: a browser would send their forms here.
///
/// # Errors
///
/// [`Reason::Unauthorized`] or [`Reason::CrossSite`].
pub(crate) fn check_change(edge: &Edge, connection: &ConnectionState, head: &Parts) -> Result<Caller, Refusal> {
    let has_token = check(edge.config.token.as_deref(), &edge.sessions, head)?;
    Ok(Caller { peer: edge.peers.peer(connection.peer, &head.headers), has_token })
}

/// The caller of a request that needs no token. A code is not used up by one.
pub(crate) fn caller(edge: &Edge, connection: &ConnectionState, head: &Parts) -> Caller {
    let has_token = edge.config.token.as_deref().is_some_and(|token| {
        carries(&head.headers, token) || (is_own_page(head) && has_session(&edge.sessions, &head.headers))
    });
    Caller { peer: edge.peers.peer(connection.peer, &head.headers), has_token }
}

/// Whether a request that may pass has the token.
fn check(token: Option<&str>, sessions: &Sessions, head: &Parts) -> Result<bool, Refusal> {
    let headers = &head.headers;
    let Some(token) = token else {
        return if from_another_site(head) { Err(cross_site(NO_TOKEN)) } else { Ok(false) };
    };
    if carries(headers, token) || bearer(headers).is_some_and(|code| sessions.redeem(code, Instant::now())) {
        return Ok(true);
    }
    match (has_session(sessions, headers), is_own_page(head)) {
        (true, true) => Ok(true),
        (true, false) => Err(cross_site(NOT_OWN)),
        (false, _) => Err(Refusal::new(
            Reason::Unauthorized,
            "send the server's token in a header: `Authorization: Bearer TOKEN`",
        )
        .header("www-authenticate", "Bearer realm=\"tidepool\"")),
    }
}

const NO_TOKEN: &str =
    "a page of another site may not change functions: set a token and send it, or ask without a browser";
const NOT_OWN: &str =
    "a session is good for the server's own pages: send the header `x-tidepool: 1` from one of them, or send the token";

fn cross_site(message: &str) -> Refusal {
    Refusal::new(Reason::CrossSite, message)
}

fn carries(headers: &HeaderMap, token: &str) -> bool {
    // The comparison takes as long for a wrong first byte as for a wrong last one; lengths are no secret.
    bearer(headers).is_some_and(|given| bool::from(given.ct_eq(token.as_bytes())))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, given) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| given.trim_ascii())
}

/// Cookies are sent to all ports of a host: each server there has a cookie with a name of its own that begins like this.
const COOKIE: &[u8] = b"tidepool_";
/// So many of them are looked at.
const COOKIES: usize = 16;

fn has_session(sessions: &Sessions, headers: &HeaderMap) -> bool {
    let cookies = headers.get_all(COOKIE_HEADER).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let ours = cookies.filter_map(|cookie| {
        let named = cookie.trim_ascii().strip_prefix(COOKIE)?;
        named.iter().position(|byte| *byte == b'=').and_then(|end| named.get(end.saturating_add(1)..))
    });
    ours.take(COOKIES).any(|id| sessions.is_open(id, Instant::now()))
}

/// Whether a request comes from a page of this server. No other page can send the header without asking first, and it is
/// refused; a browser tells of a change where it comes from besides.
fn is_own_page(head: &Parts) -> bool {
    let headers = &head.headers;
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let told = headers.contains_key(SITE) || headers.contains_key(ORIGIN);
    headers.get("x-tidepool").is_some_and(|value| value == "1") && (reads || told) && !from_another_site(head)
}

const SITE: &str = "sec-fetch-site";

fn from_another_site(head: &Parts) -> bool {
    let headers = &head.headers;
    if let Some(site) = headers.get(SITE) {
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
    use crate::edge::sessions::Pass;
    use std::time::Duration;

    fn verdict(token: Option<&str>, headers: &[(&str, &str)]) -> Option<Reason> {
        verdict_of(token, &Sessions::default(), "POST", headers)
    }

    fn verdict_of(token: Option<&str>, sessions: &Sessions, method: &str, headers: &[(&str, &str)]) -> Option<Reason> {
        let mut request = hyper::Request::builder().method(method).uri("/deploy").header("host", "localhost:4000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(token, sessions, &head).err().map(|refusal| refusal.reason)
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

    #[test]
    fn a_session_stands_for_the_token_on_the_servers_own_pages_alone() {
        let sessions = Sessions::default();
        let hour = Duration::from_secs(3_600);
        sessions.admit(b"id", Pass::Session { lifetime: hour, idle: hour }, Instant::now());
        let verdict = |method, more: &[(&str, &str)]| {
            let cookie = [("cookie", "theme=dark; tidepool_1=other; tidepool_4000=id")];
            verdict_of(Some("s3cret"), &sessions, method, &[cookie.as_slice(), more].concat())
        };
        let ours = ("x-tidepool", "1");
        assert_eq!(verdict("POST", &[ours, ("sec-fetch-site", "same-origin")]), None);
        assert_eq!(verdict("POST", &[ours, ("origin", "http://localhost:4000")]), None);
        assert_eq!(verdict("GET", &[ours]), None);
        assert_eq!(verdict("POST", &[ours]), Some(Reason::CrossSite));
        assert_eq!(verdict("POST", &[("sec-fetch-site", "same-origin")]), Some(Reason::CrossSite));
        assert_eq!(verdict("GET", &[]), Some(Reason::CrossSite));
        for site in ["cross-site", "same-site"] {
            assert_eq!(verdict("POST", &[ours, ("sec-fetch-site", site)]), Some(Reason::CrossSite));
        }
        assert_eq!(verdict("POST", &[ours, ("origin", "http://localhost:4001")]), Some(Reason::CrossSite));
        sessions.dismiss(b"id");
        assert_eq!(verdict("POST", &[ours, ("sec-fetch-site", "same-origin")]), Some(Reason::Unauthorized));
    }

    #[test]
    fn a_code_is_a_bearer_token_once() {
        let sessions = Sessions::default();
        sessions.admit(b"c0de", Pass::Code(Duration::from_secs(60)), Instant::now());
        let verdict = || verdict_of(Some("s3cret"), &sessions, "POST", &[("authorization", "Bearer c0de")]);
        assert_eq!(verdict(), None);
        assert_eq!(verdict(), Some(Reason::Unauthorized));
    }
}
