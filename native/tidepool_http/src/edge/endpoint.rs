//! What is served beside calls, deploys and health: a table of the backend's, and which row of it a request means.
//!
//! The backend says what there is and what each row takes; the edge guards it, so that nothing reaches the backend that
//! the row does not let in.

use crate::backend::token::Scope;
use crate::message::refusal::{Refusal, shown};
use hyper::Method;
use hyper::header::HeaderName;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tidepool_errors::Reason;

/// One method of one path.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `GET`, which answers `HEAD` too, or any other method but that.
    pub method: String,
    /// Such as `/functions/:function`: a segment with a colon stands for any that is not empty.
    pub path: String,
    /// Needs what a change needs: the token, or, without one, a client that is no page of another site. What is refused
    /// is told to [`crate::Backend::refused`].
    pub guarded: bool,
    /// What a token has to be for, where the endpoint is guarded; without one it is for any token, of whatever functions.
    pub scope: Option<Scope>,
    /// Answers with what its caller may see: a token for some functions is let in, and the backend, which is told of it, leaves the
    /// others out.
    pub selects: bool,
    /// Tells how the server is: let in when what makes it work is not.
    pub observes: bool,
    /// Wants the parameters of the query. Only then is the query read, and one that can't be read refused.
    pub query: bool,
    /// Names of the headers that it wants.
    pub headers: Vec<String>,
    /// What it takes of a body.
    pub body: BodyRule,
    /// Requests of it in flight at once, of all clients; above it 503. One client has no more of them than it leaves to the
    /// others. `None`: those that there are for all requests.
    pub places: Option<usize>,
    /// Has a module compiled, and takes one of the places that deploys have.
    pub deploys: bool,
}

/// What an endpoint takes of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// Nothing: a body is left unread.
    Nothing,
    /// All of it at once, up to this many bytes, within [`crate::Config::body_timeout`].
    Whole(usize),
    /// All of it at once, as the payload of a call of the function that the path names: up to what [`crate::Backend::payload_limit`] says
    /// of it, and to [`crate::Config::max_payload_bytes`].
    Payload,
    /// Piece by piece as the backend asks for them, up to this many bytes in all. While the backend waits for one, the client
    /// must send 16 KiB or the end within each [`crate::Config::body_timeout`].
    Pieces(usize),
}

impl BodyRule {
    /// The most that is held of a body, in bytes, beside payloads.
    pub(crate) fn whole_bytes(self) -> usize {
        if let Self::Whole(bytes) = self { bytes } else { 0 }
    }
}

impl Endpoint {
    /// One that anybody may read: `GET path`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            guarded: false,
            scope: Some(Scope::Read),
            selects: false,
            observes: false,
            query: false,
            headers: Vec::new(),
            body: BodyRule::Nothing,
            places: None,
            deploys: false,
        }
    }

    /// One that changes something.
    #[must_use]
    pub fn change(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), guarded: true, scope: Some(Scope::Admin), ..Self::get(path) }
    }
}

/// A row of the [`Table`].
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) index: usize,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: Vec<HeaderName>,
    /// Which segment of the path is a function's name, from 0.
    pub(crate) function: Option<usize>,
    /// Places taken, where there is a cap on them.
    pub(crate) held: Arc<AtomicUsize>,
    method: Method,
}

/// All rows, in the backend's order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// What a path and a method mean.
pub(crate) enum Found<'a> {
    Row(&'a Row),
    /// The path is there, with these methods.
    OtherMethods(String),
    Nothing,
}

/// The segments that are functions' names.
const NAMES: [&str; 2] = [":function", ":class"];

/// How like another a word is that may be a slip of it, by the distance of Jaro.
const ALIKE: f64 = 0.85;

/// Longest path of which the one that is like it is looked for.
const MAX_NEAR_BYTES: usize = 256;

/// What the edge serves by itself.
const OWN: [&str; 4] = ["/deploy", "/call/FUNCTION", "/call/FUNCTION/OPERATION", "/health"];

impl Table {
    /// # Errors
    ///
    /// Method and path of one that can't be.
    pub(crate) fn new(endpoints: &[Endpoint]) -> Result<Self, String> {
        let rows = endpoints.iter().enumerate().map(|(index, endpoint)| {
            let wrong = || format!("{} {}", endpoint.method, endpoint.path);
            let method = Method::from_bytes(endpoint.method.as_bytes()).map_err(|_| wrong())?;
            let names = endpoint.headers.iter().map(|name| HeaderName::from_bytes(name.as_bytes()));
            let headers = names.collect::<Result<_, _>>().map_err(|_| wrong())?;
            // No request would get to these.
            let own = endpoint.path.starts_with("/call/") || OWN.contains(&endpoint.path.as_str());
            let function = endpoint.path.split('/').skip(1).position(|segment| NAMES.contains(&segment));
            let nobodys = endpoint.body == BodyRule::Payload && function.is_none();
            if !endpoint.path.starts_with('/') || own || method == Method::HEAD || endpoint.places == Some(0) || nobodys
            {
                return Err(wrong());
            }
            Ok(Row { function, index, endpoint: endpoint.clone(), headers, held: Arc::default(), method })
        });
        Ok(Self { rows: rows.collect::<Result<_, _>>()? })
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let mut others = Vec::new();
        for row in self.rows.iter().filter(|row| matches(&row.endpoint.path, path)) {
            if row.method == *wanted {
                return Found::Row(row);
            }
            others.push(if row.method == Method::GET { "GET,HEAD" } else { row.method.as_str() });
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others.join(",")) }
    }

    /// The refusal of a path that is not there, with the one that is most like it, or all that are.
    pub(crate) fn not_found(&self, path: &str) -> Refusal {
        let mut known: Vec<_> = OWN.iter().map(|&path| path.to_owned()).collect();
        for row in &self.rows {
            let shown = named(&row.endpoint.path);
            if !known.contains(&shown) {
                known.push(shown);
            }
        }
        let message = nearest(path, &known).map_or_else(
            || format!("no such path; there are {}", known.join(", ")),
            |near| format!("no such path: did you mean {near}?"),
        );
        Refusal::new(Reason::NotFound, message).with("path", shown(path))
    }
}

/// The refusal of a method that a path does not have.
pub(crate) fn not_allowed(method: &Method, allow: &str) -> Refusal {
    let method = shown(method.as_str());
    let others = match allow.rsplit_once(',') {
        Some((others, last)) => format!("{} or {last}", others.replace(',', ", ")),
        None => allow.to_owned(),
    };
    Refusal::new(Reason::MethodNotAllowed, format!("there is no {method} of this path: use {others}"))
        .with("method", method)
        .header("allow", allow)
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given && !wanted.starts_with(':') => {}
            (Some(wanted), Some(given)) if wanted.starts_with(':') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

/// The path of these whose words are most like those of `path`, with as many segments, if all are rather like them.
fn nearest<'a>(path: &str, known: &'a [String]) -> Option<&'a str> {
    // Nobody slips in more. Comparing takes the product of both lengths.
    if path.len() > MAX_NEAR_BYTES {
        return None;
    }
    let path = path.trim_end_matches('/').to_lowercase();
    let given: Vec<_> = path.split('/').collect();
    let likeness = |known: &'a String| {
        let wanted: Vec<_> = known.split('/').collect();
        let mut pairs = wanted.iter().zip(&given);
        let like = |least: f64, (wanted, given): (&&str, &&str)| Some(least.min(like(wanted, given)?));
        let least = (wanted.len() == given.len()).then(|| pairs.try_fold(1.0, like)).flatten()?;
        Some((least, known.as_str()))
    };
    known.iter().filter_map(likeness).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_likeness, path)| path)
}

/// How like a word is that may be a slip of the one that is wanted. Any word may be in place of one in capitals.
fn like(wanted: &str, given: &str) -> Option<f64> {
    let is_any = wanted.bytes().next().is_some_and(|first| first.is_ascii_uppercase());
    let like = if is_any && !given.is_empty() { ALIKE } else { strsim::jaro(wanted, given) };
    (like >= ALIKE).then_some(like)
}

/// `/functions/FUNCTION` of `/functions/:function`.
fn named(pattern: &str) -> String {
    let segment = |segment: &str| segment.strip_prefix(':').map_or_else(|| segment.to_owned(), str::to_uppercase);
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &Table, method: &Method, path: &str) -> String {
        match table.find(method, path) {
            Found::Row(row) => row.endpoint.path.clone(),
            Found::OtherMethods(allow) => allow,
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn a_path_is_matched_segment_by_segment_and_as_it_was_written() {
        let endpoints = [Endpoint::get("/a"), Endpoint::get("/a/:x"), Endpoint::change("DELETE", "/a/:x")];
        let Ok(table) = Table::new(&endpoints) else { panic!("a table") };
        for (method, path, expected) in [
            (Method::GET, "/a", "/a"),
            (Method::HEAD, "/a/b", "/a/:x"),
            (Method::GET, "/a/%2F", "/a/:x"),
            (Method::DELETE, "/a/:x", "/a/:x"),
            (Method::PUT, "/a/b", "GET,HEAD,DELETE"),
            (Method::DELETE, "/a", "GET,HEAD"),
            (Method::GET, "/a/", "nothing"),
            (Method::GET, "/a/b/", "nothing"),
            (Method::GET, "//a", "nothing"),
            (Method::GET, "/%61", "nothing"),
            (Method::GET, "a", "nothing"),
            (Method::GET, "", "nothing"),
        ] {
            assert_eq!(found(&table, &method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_path_that_is_not_there_is_answered_with_the_one_that_is_like_it_or_all() {
        let endpoints =
            ["/functions", "/functions/:function", "/functions/:function/logs", "/metrics"].map(Endpoint::get);
        let Ok(table) = Table::new(&endpoints) else { panic!("a table") };
        for (path, near) in [
            ("/function", "/functions"),
            ("/function/x", "/functions/FUNCTION"),
            ("/functions/x/log", "/functions/FUNCTION/logs"),
            ("/functions/", "/functions"),
            ("/calls/hello", "/call/FUNCTION"),
            ("/Deploy", "/deploy"),
            ("/heath", "/health"),
        ] {
            assert_eq!(table.not_found(path).message, format!("no such path: did you mean {near}?"));
        }
        for path in ["/", "", "x", "/functions//logs", "/v1/functions", "/admin", "/nope", "/\u{1f30a}"] {
            let all = "no such path; there are /deploy, /call/FUNCTION, ";
            assert!(table.not_found(path).message.starts_with(all), "{path}");
        }
        let long = |bytes: usize| table.not_found(&format!("/function/{}", "x".repeat(bytes))).message;
        assert!(
            long(200).starts_with("no such path: did you mean") && long(60_000).starts_with("no such path; there are")
        );
    }

    #[test]
    fn a_method_that_is_not_there_is_answered_with_those_that_are() {
        for (allow, others) in
            [("POST", "POST"), ("GET,HEAD", "GET or HEAD"), ("GET,HEAD,DELETE", "GET, HEAD or DELETE")]
        {
            let message = not_allowed(&Method::PUT, allow).message;
            assert_eq!(message, format!("there is no PUT of this path: use {others}"));
        }
    }

    #[test]
    fn endpoints_that_nobody_would_get_to_are_refused() {
        for (method, path) in
            [("GET", "/call/x"), ("GET", "/health"), ("POST", "/deploy"), ("GET", "x"), ("HEAD", "/x"), ("a b", "/x")]
        {
            assert!(Table::new(&[Endpoint::change(method, path)]).is_err(), "{method} {path}");
        }
        assert!(Table::new(&[Endpoint { headers: vec!["a b".into()], ..Endpoint::get("/x") }]).is_err());
        // A payload is a function's.
        let payload = |path| Table::new(&[Endpoint { body: BodyRule::Payload, ..Endpoint::change("POST", path) }]);
        assert!(payload("/x/:class").is_ok() && payload("/x/:name").is_err());
    }
}
