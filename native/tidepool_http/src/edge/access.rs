//! Access: whether a request may do what it asks for. Decided from the head alone, before a body is read.

use crate::backend::contract::Caller;
use crate::backend::token::{Scope, Token};
use crate::connection::state::ConnectionState;
use crate::edge::sessions::{Session, Sessions};
use crate::edge::shared::Edge;
use crate::edge::tokens::{Subject, Tokens};
use crate::message::cookies;
use crate::message::refusal::Refusal;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use hyper::{Method, Uri};
use std::sync::Arc;
use std::time::Instant;
use subtle::ConstantTimeEq;
use tidepool_errors::Reason;

/// What is looked at.
pub(crate) type Head<'a> = (&'a Method, &'a Uri, &'a HeaderMap);

/// Lets a request pass that a token has to vouch for, and returns its caller: what that may do is for [`authorize`] to say.
///
/// With a token configured, the request must carry it, or one that was made here, or a secret that stands for one of these: a
/// code as the bearer, or both halves of a session, if one of the server's own pages sends it. Without a token, every client that
/// reaches the address may change things, except web pages of other sites: a browser would send their forms here.
///
/// # Errors
///
/// [`Reason::Unauthorized`] or [`Reason::CrossSite`].
pub(crate) fn check_change(edge: &Edge, connection: &ConnectionState, head: Head<'_>) -> Result<Caller, Refusal> {
    let vouched = check(edge.config.token.as_deref(), &edge.sessions, &edge.tokens, head)?;
    Ok(called(edge, connection, head, vouched))
}

/// Whether what has vouched for a caller still does: until its body was there, its token may have been revoked.
///
/// # Errors
///
/// [`Reason::Unauthorized`].
pub(crate) fn check_again(edge: &Edge, caller: &Caller) -> Result<(), Refusal> {
    match &caller.token {
        Some(token) if edge.tokens.get(&token.hash).is_none() => Err(unauthorized()),
        _ => Ok(()),
    }
}

/// The caller of a request that needs no token. A code is not used up by one.
pub(crate) fn caller(edge: &Edge, connection: &ConnectionState, head: Head<'_>) -> Caller {
    let vouched = edge.config.token.as_deref().and_then(|own| {
        by_token(own, &edge.tokens, head).or_else(|| match by_session(&edge.sessions, &edge.tokens, head) {
            BySession::Vouched(vouched) => Some(vouched),
            BySession::NotOurs | BySession::None => None,
        })
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
    /// One that was made here, or what stands for it.
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

/// Lets a call pass where calls take a token, and returns its caller then. What is refused is told.
///
/// # Errors
///
/// As of [`check_change`] and [`authorize`].
pub(crate) fn check_call(
    edge: &Edge,
    connection: &ConnectionState,
    head: Head<'_>,
    function: &str,
) -> Result<Option<Caller>, Refusal> {
    if !edge.config.closed_calls {
        return Ok(None);
    }
    check_change(edge, connection, head)
        .and_then(|caller| authorize(&caller, Scope::Call, Subject::Function(function)).map(|()| Some(caller)))
        .inspect_err(|refusal| edge.tell_refused(connection, head, refusal.reason))
}

/// The same of a function that may have any of these names; with the caller those that it may call. It may call the last one, which is
/// the most that the path can mean: or whether it is refused would tell what is deployed under names that are not its own.
///
/// # Errors
///
/// As of [`check_call`], for the last name.
pub(crate) fn check_call_of(
    edge: &Edge,
    connection: &ConnectionState,
    head: Head<'_>,
    mut names: Vec<String>,
) -> Result<(Option<Caller>, Vec<String>), Refusal> {
    if !edge.config.closed_calls || names.is_empty() {
        return Ok((None, names));
    }
    let checked = check_change(edge, connection, head).and_then(|caller| {
        let may = |name: &String| authorize(&caller, Scope::Call, Subject::Function(name));
        names.last().map_or(Ok(()), may)?;
        names.retain(|name| may(name).is_ok());
        Ok((Some(caller), names))
    });
    checked.inspect_err(|refusal| edge.tell_refused(connection, head, refusal.reason))
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
    match by_session(sessions, tokens, head) {
        BySession::Vouched(vouched) => Ok(Some(vouched)),
        BySession::NotOurs => Err(cross_site(NOT_OWN)),
        BySession::None => Err(unauthorized()),
    }
}

fn unauthorized() -> Refusal {
    Refusal::new(
        Reason::Unauthorized,
        "send a token in one header, `Authorization: Bearer TOKEN`: the server's, or one that was made here and has \
         neither expired nor been revoked",
    )
    .header("www-authenticate", "Bearer realm=\"tidepool\"")
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
const NOT_OWN: &str = "a session is good for the server's own pages, which send its key in the header `x-tidepool`: sign in there \
                       anew, or send the token";

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
pub(crate) const COOKIE: &[u8] = b"tidepool_";
/// Cookies of servers on a host that are looked at: a browser has one for each port. Others on the host may set more, and may replace
/// a server's own.
const MOST_SERVERS: usize = 64;
/// The characters of a session's first half, and of its second one: 256 bits in Base64.
const HALF: usize = 43;
/// What the server's own pages send: the second half of their session, or anything else where they have none.
const PAGE: &str = "x-tidepool";
/// What they send besides, when their user has done something since they last asked.
const BY_USER: &str = "x-tidepool-user";

/// What a session says of a request.
enum BySession {
    /// There is none.
    None,
    /// There is one, and no page of this server's has sent it.
    NotOurs,
    Vouched(Vouched),
}

/// Whoever sends a token means that one.
fn by_session(sessions: &Sessions, tokens: &Tokens, head: Head<'_>) -> BySession {
    let (method, _, headers) = head;
    if headers.contains_key(AUTHORIZATION) {
        return BySession::None;
    }
    let ours = cookies::of(headers).filter_map(|cookie| {
        let named = cookie.strip_prefix(COOKIE)?;
        let end = named.iter().position(|byte| *byte == b'=')?;
        named.get(end.saturating_add(1)..).filter(|id| id.len() == HALF)
    });
    let key = if is_own_page(head) { headers.get(PAGE).map(|key| key.as_bytes()) } else { None };
    let by_user = !reads(method) || headers.contains_key(BY_USER);
    match sessions.find(ours.take(MOST_SERVERS), key, by_user, Instant::now()) {
        Session::Unknown => BySession::None,
        Session::Unproved => BySession::NotOurs,
        Session::Open(None) => BySession::Vouched(Vouched::Server),
        Session::Open(Some(hash)) => {
            tokens.get(&hash).map_or(BySession::None, |token| BySession::Vouched(Vouched::Token(token)))
        }
    }
}

/// Whether a request comes from a page of this server. No other page can send the header without asking first, and it is
/// refused; a browser tells of a change where it comes from besides.
fn is_own_page(head: Head<'_>) -> bool {
    let (method, _, headers) = head;
    let told = headers.contains_key(SITE) || headers.contains_key(ORIGIN);
    headers.contains_key(PAGE) && (reads(method) || told) && !from_another_site(head)
}

fn reads(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
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
    use crate::edge::sessions::Terms;
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

    const ID: &str = "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii";
    const KEY: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
    const TERMS: Terms = Terms { lifetime: Duration::from_secs(3_600), idle: Duration::from_secs(3_600) };
    const OURS: (&str, &str) = ("x-tidepool", KEY);
    const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

    fn signed_in(id: &str) -> Sessions {
        let sessions = Sessions::default();
        sessions.admit_session((id.as_bytes(), KEY.as_bytes()), None, TERMS, Instant::now());
        sessions
    }

    #[test]
    fn a_session_stands_for_the_token_on_the_servers_own_pages_alone() {
        let sessions = signed_in(ID);
        let verdict = |method, more: &[(&str, &str)]| {
            let cookies = format!("theme=dark; tidepool_1=other; tidepool_4000={ID}");
            verdict_of(Some("s3cret"), &sessions, method, &[[("cookie", cookies.as_str())].as_slice(), more].concat())
        };
        assert_eq!(verdict("POST", &[OURS, SAME]), None);
        assert_eq!(verdict("POST", &[OURS, ("origin", "http://localhost:4000")]), None);
        assert_eq!(verdict("GET", &[OURS]), None);
        assert_eq!(verdict("POST", &[OURS]), Some(Reason::CrossSite));
        assert_eq!(verdict("POST", &[SAME]), Some(Reason::CrossSite));
        assert_eq!(verdict("GET", &[]), Some(Reason::CrossSite));
        for site in ["cross-site", "same-site"] {
            assert_eq!(verdict("POST", &[OURS, ("sec-fetch-site", site)]), Some(Reason::CrossSite));
        }
        assert_eq!(verdict("POST", &[OURS, ("origin", "http://localhost:4001")]), Some(Reason::CrossSite));
        for token in ["Bearer wrong", "Basic s3cret", ""] {
            assert_eq!(verdict("POST", &[OURS, SAME, ("authorization", token)]), Some(Reason::Unauthorized), "{token}");
        }
        sessions.dismiss(ID.as_bytes(), KEY.as_bytes());
        assert_eq!(verdict("POST", &[OURS, SAME]), Some(Reason::Unauthorized));
    }

    // A server on another port of the host is sent the cookie by every browser that is signed in here.
    #[test]
    fn who_has_seen_the_cookie_alone_reads_and_changes_nothing() {
        let sessions = signed_in(ID);
        let cookie = format!("tidepool_4000={ID}");
        for method in ["GET", "POST"] {
            for key in ["1", "", ID, &KEY[1..], &format!("{KEY}k")] {
                let headers = [("cookie", cookie.as_str()), ("x-tidepool", key), SAME];
                assert_eq!(verdict_of(Some("s3cret"), &sessions, method, &headers), Some(Reason::CrossSite), "{key}");
            }
        }
    }

    #[test]
    fn cookies_of_other_servers_sign_nobody_out_and_no_more_are_looked_at_than_a_host_has_servers() {
        let sessions = signed_in(ID);
        let (foreign, own) = (format!("tidepool_4001={}", "f".repeat(HALF)), format!("tidepool_4000={ID}"));
        for (others, reason) in [(MOST_SERVERS - 1, None), (MOST_SERVERS, Some(Reason::Unauthorized))] {
            let line = format!("{}theme=dark; {own}", format!("{foreign}; ").repeat(others));
            assert_eq!(verdict_of(Some("s3cret"), &sessions, "POST", &[("cookie", &line), OURS, SAME]), reason);
            // HTTP/2 may send each in a header of its own.
            let mut lines = vec![("cookie", foreign.as_str()); others];
            lines.extend([("cookie", own.as_str()), OURS, SAME]);
            assert_eq!(verdict_of(Some("s3cret"), &sessions, "POST", &lines), reason);
        }
    }

    #[test]
    fn a_session_of_a_token_is_that_token_for_as_long_as_there_is_one() {
        let token = Token {
            name: "ci".into(),
            hash: [7; 32],
            scopes: vec![Scope::Read],
            functions: "shop-*".into(),
            expires_at: u64::MAX,
        };
        let (sessions, tokens) = (Sessions::default(), Tokens::new(vec![token.clone()]));
        sessions.admit_session((ID.as_bytes(), KEY.as_bytes()), Some(token.hash), TERMS, Instant::now());
        let cookie = format!("tidepool_4000={ID}");
        let request = hyper::Request::get("/node").header("host", "localhost").header("cookie", cookie);
        let (head, ()) = request.header("x-tidepool", KEY).body(()).unwrap().into_parts();
        let head = (&head.method, &head.uri, &head.headers);
        assert_eq!(check(Some("s3cret"), &sessions, &tokens, head).ok(), Some(Some(Vouched::Token(Arc::new(token)))));
        tokens.replace(Vec::new());
        let refused = check(Some("s3cret"), &sessions, &tokens, head).err();
        assert_eq!(refused.map(|refusal| refusal.reason), Some(Reason::Unauthorized));
    }

    #[test]
    fn a_code_is_a_bearer_token_once() {
        let sessions = Sessions::default();
        sessions.admit_code(b"c0de", Duration::from_secs(60), Instant::now());
        let verdict = || verdict_of(Some("s3cret"), &sessions, "POST", &[("authorization", "Bearer c0de")]);
        assert_eq!(verdict(), None);
        assert_eq!(verdict(), Some(Reason::Unauthorized));
    }
}
