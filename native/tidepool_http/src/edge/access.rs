//! Access: whether a request may do what it asks for. Decided from the head alone, before a body is read.

use crate::backend::contract::Caller;
use crate::backend::token::{Scope, Token};
use crate::connection::state::ConnectionState;
use crate::edge::sessions::Sessions;
use crate::edge::shared::Edge;
use crate::edge::tokens::{Subject, Tokens};
use crate::message::reason::{Reason, Refusal};
use hyper::header::{AUTHORIZATION, COOKIE as COOKIE_HEADER, HOST, HeaderMap, ORIGIN};
use hyper::{Method, Uri};
use std::sync::Arc;
use std::time::Instant;
use subtle::ConstantTimeEq;

/// What is looked at.
pub(crate) type Head<'a> = (&'a Method, &'a Uri, &'a HeaderMap);

/// Lets a request pass that a token has to vouch for, and returns its caller: what that may do is for [`authorize`] to say.
///
/// With a token configured, the request must carry it, or one that was made here, or a secret that stands for the server's: a
/// code as the bearer, or the cookie of a session, if one of the server's own pages sends it. Without a token, every client that
/// reaches the address may change things, except web pages of other sites: a browser would send their forms here.
///
/// # Errors
///
/// [`Reason::Unauthorized`] or [`Reason::CrossSite`].
pub(crate) fn check_change(edge: &Edge, connection: &ConnectionState, head: Head<'_>) -> Result<Caller, Refusal> {
    let vouched = check(edge.config.token.as_deref(), &edge.sessions, &edge.tokens, head)?;
    Ok(called(edge, connection, head, vouched))
}

/// The caller of a request that needs no token. A code is not used up by one.
pub(crate) fn caller(edge: &Edge, connection: &ConnectionState, head: Head<'_>) -> Caller {
    let vouched = edge.config.token.as_deref().and_then(|own| {
        by_token(own, &edge.tokens, head)
            .or_else(|| (is_own_page(head) && has_session(&edge.sessions, head.2)).then_some(Vouched::Server))
    });
    called(edge, connection, head, vouched)
}

fn called(edge: &Edge, connection: &ConnectionState, head: Head<'_>, vouched: Option<Vouched>) -> Caller {
    let peer = edge.peers.peer(connection.peer, head.2);
    let has_token = vouched.is_some();
    let token = if let Some(Vouched::Token(token)) = vouched { Some(token) } else { None };
    Caller { peer, has_token, token }
}

/// What vouches for a request.
#[derive(Debug, PartialEq, Eq)]
enum Vouched {
    /// The server's token, or what stands for it: may do everything.
    Server,
    /// One that was made here.
    Token(Arc<Token>),
}

/// Whether a caller may do what needs this scope. The server's own token may, and so may anybody where there is none.
///
/// # Errors
///
/// [`Reason::Forbidden`].
pub(crate) fn authorize(caller: &Caller, scope: Scope, subject: Subject<'_>) -> Result<(), Refusal> {
    let Some(token) = &caller.token else { return Ok(()) };
    if token.may(scope) && token.covers(subject) {
        return Ok(());
    }
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
    let needed = if subject == Subject::Server { "all functions (`*`)" } else { "this function" };
    let message = format!(
        "the token {} has {} for {}, and this needs {} for {needed}: ask with another one, or have one made",
        token.name,
        scopes.join(", "),
        token.functions,
        scope.name()
    );
    Err(Refusal::new(Reason::Forbidden, message).with("scope", scope.name()).with("token", token.name.as_str()))
}

/// Lets a call pass where calls take a token. What is refused is told.
///
/// # Errors
///
/// As of [`check_change`] and [`authorize`].
pub(crate) fn check_call(
    edge: &Edge,
    connection: &ConnectionState,
    head: Head<'_>,
    function: &str,
) -> Result<(), Refusal> {
    check_change(edge, connection, head)
        .and_then(|caller| authorize(&caller, Scope::Call, Subject::Function(function)))
        .inspect_err(|refusal| edge.tell_refused(connection, head, refusal.reason))
}

/// What vouches for a request that may pass; on a server without a token nothing does.
fn check(own: Option<&str>, sessions: &Sessions, tokens: &Tokens, head: Head<'_>) -> Result<Option<Vouched>, Refusal> {
    let (_, _, headers) = head;
    let Some(own) = own else {
        return if from_another_site(head) { Err(cross_site(NO_TOKEN)) } else { Ok(None) };
    };
    if let Some(vouched) = by_token(own, tokens, head) {
        return Ok(Some(vouched));
    }
    if bearer(headers).is_some_and(|code| sessions.redeem(code, Instant::now())) {
        return Ok(Some(Vouched::Server));
    }
    match (has_session(sessions, headers), is_own_page(head)) {
        (true, true) => Ok(Some(Vouched::Server)),
        (true, false) => Err(cross_site(NOT_OWN)),
        (false, _) => Err(Refusal::new(
            Reason::Unauthorized,
            "send a token in one header, `Authorization: Bearer TOKEN`: the server's, or one that was made here and has \
             neither expired nor been revoked",
        )
        .header("www-authenticate", "Bearer realm=\"tidepool\"")),
    }
}

/// What a request's bearer token is, if it is one.
fn by_token(own: &str, tokens: &Tokens, (_, _, headers): Head<'_>) -> Option<Vouched> {
    let given = bearer(headers)?;
    // The comparison takes as long for a wrong first byte as for a wrong last one; lengths are no secret.
    let is_own = bool::from(given.ct_eq(own.as_bytes()));
    if is_own { Some(Vouched::Server) } else { tokens.find(given).map(Vouched::Token) }
}

const NO_TOKEN: &str =
    "a page of another site may not change functions: set a token and send it, or ask without a browser";
const NOT_OWN: &str =
    "a session is good for the server's own pages: send the header `x-tidepool: 1` from one of them, or send the token";

fn cross_site(message: &str) -> Refusal {
    Refusal::new(Reason::CrossSite, message)
}

/// The secret that a request carries. Of two, which one a proxy has looked at is not known: neither counts.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, given) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| given.trim_ascii())
}

/// Cookies are sent to all ports of a host: each server there has a cookie with a name of its own that begins like this.
const COOKIE: &[u8] = b"tidepool_";
/// So many of them are looked at.
const COOKIES: usize = 16;

/// Whoever sends a token means that one.
fn has_session(sessions: &Sessions, headers: &HeaderMap) -> bool {
    if headers.contains_key(AUTHORIZATION) {
        return false;
    }
    let cookies = headers.get_all(COOKIE_HEADER).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let ours = cookies.filter_map(|cookie| {
        let named = cookie.trim_ascii().strip_prefix(COOKIE)?;
        named.iter().position(|byte| *byte == b'=').and_then(|end| named.get(end.saturating_add(1)..))
    });
    ours.take(COOKIES).any(|id| sessions.is_open(id, Instant::now()))
}

/// Whether a request comes from a page of this server. No other page can send the header without asking first, and it is
/// refused; a browser tells of a change where it comes from besides.
fn is_own_page(head: Head<'_>) -> bool {
    let (method, _, headers) = head;
    let reads = method == Method::GET || method == Method::HEAD;
    let told = headers.contains_key(SITE) || headers.contains_key(ORIGIN);
    headers.get("x-tidepool").is_some_and(|value| value == "1") && (reads || told) && !from_another_site(head)
}

const SITE: &str = "sec-fetch-site";

fn from_another_site((_, uri, headers): Head<'_>) -> bool {
    if let Some(site) = headers.get(SITE) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
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
        let head = (&head.method, &head.uri, &head.headers);
        check(token, sessions, &Tokens::default(), head).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn only_the_whole_token_passes() {
        assert_eq!(verdict(Some("s3cret"), &[("authorization", "Bearer s3cret")]), None);
        assert_eq!(verdict(Some("s3cret"), &[("authorization", "bearer  s3cret")]), None);
        for wrong in ["Bearer s3cre", "Bearer s3crets", "Bearer ", "Basic s3cret", "s3cret", ""] {
            assert_eq!(verdict(Some("s3cret"), &[("authorization", wrong)]), Some(Reason::Unauthorized), "{wrong}");
        }
        assert_eq!(verdict(Some("s3cret"), &[]), Some(Reason::Unauthorized));
        let twice = [("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")];
        assert_eq!(verdict(Some("s3cret"), &twice), Some(Reason::Unauthorized));
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
        for token in ["Bearer wrong", "Basic s3cret", ""] {
            let both = [ours, ("sec-fetch-site", "same-origin"), ("authorization", token)];
            assert_eq!(verdict("POST", &both), Some(Reason::Unauthorized), "{token}");
        }
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
