//! `POST /deploy`: access, bounds, and the form taken apart.

use crate::backend::contract::{Deploy, Route};
use crate::backend::token::Scope;
use crate::budget::answer_window::AnswerShare;
use crate::budget::heads;
use crate::budget::shares::Hold;
use crate::connection::state::ConnectionState;
use crate::edge::access;
use crate::edge::shared::{Edge, Purpose, Slot};
use crate::edge::tokens::Subject;
use crate::exchange::body::{self, Bounds, Held};
use crate::exchange::handover::{aborted, hand_over};
use crate::exchange::written::Http;
use crate::message::percent;
use crate::message::refusal::{Refusal, shown};
use crate::message::response::Response;
use crate::routes::parts::{self, Fault, Part};
use axum::body::Body;
use axum::extract::multipart::Multipart;
use axum::extract::{DefaultBodyLimit, FromRequest};
use bytes::Bytes;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use std::sync::Arc;
use tidepool_errors::Reason;
use tokio::task::spawn_blocking;

/// Most fields of a form beside the module. What they mean is the backend's to say.
const MAX_FIELDS: usize = 64;

/// The field that says where the module is, in place of the module.
const REFERENCE: &str = "ref";

/// Longest text of a field.
const TEXT_BYTES: usize = 64 << 10;

/// Forms of so many bytes are taken apart by a thread of their own.
const APART_BYTES: usize = 1 << 20;

/// What a module begins with.
const MAGIC: &[u8] = b"\0asm";

/// Longest file name.
const FILE_NAME_BYTES: usize = 4 << 10;

/// Answers a deploy. The backend hears of what was refused.
pub(crate) async fn serve<B>(edge: &Arc<Edge>, connection: &Arc<ConnectionState>, request: Request<B>) -> Http
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let answer = deploy(edge, connection, &head, body).await;
    if let Err(refusal) = &answer {
        edge.tell_refused(connection, (&head.method, &head.uri, &head.headers), refusal.reason);
    }
    edge.reply(connection, answer)
}

/// Reads a deploy and hands it over. Nothing of the body is read before the head is found good.
///
/// # Errors
///
/// Whatever is wrong with the request, or [`hand_over`].
async fn deploy<B>(
    edge: &Arc<Edge>,
    connection: &ConnectionState,
    head: &Parts,
    body: B,
) -> Result<(Response, AnswerShare), Refusal>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let caller = access::check_change(edge, connection, (&head.method, &head.uri, &head.headers))?;
    access::authorize(&caller, Scope::Deploy, Subject::InBackend)?;
    let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let boundary = parts::boundary(content_type).ok_or_else(not_multipart)?;
    let accounts = edge.accounts(connection, Some(&caller));
    let mut slot = edge.admit(accounts.clone(), Purpose::Work)?;
    slot.hold_head(heads::taken(&head.uri, &head.headers))?;
    let query = percent::parameters(head.uri.query().unwrap_or_default())?;
    // A body that finds no place at its end need not come; but none is held while it comes, or slow ones had them all.
    edge.check_uploads(&accounts)?;
    let bounds = bounds(edge);
    let held = body::read(edge, &accounts, body, &bounds).await?;
    access::check_again(edge, &caller)?;
    let upload = edge.admit_upload(accounts.clone())?;
    let (parts, _held) = split(held, upload, boundary).await?;
    let mut whole = Request::new(Body::from(parts::without_contents(&parts, boundary)));
    whole.headers_mut().extend(parts::form_type(boundary).map(|kind| (CONTENT_TYPE, kind)));
    // Its bound was kept; axum's own would cut it at 2 MB.
    DefaultBodyLimit::disable().apply(&mut whole);
    let form = Multipart::from_request(whole, &()).await.map_err(|_| not_multipart())?;
    let deploy = Deploy { query, trace: edge.trace(&head.headers), ..fields(form, parts, &bounds).await? };
    let answer = hand_over(edge, Route::Deploy(deploy, caller)).answer().await;
    answer.map(|response| (response, AnswerShare::of(&accounts)))
}

fn bounds(edge: &Edge) -> Bounds {
    Bounds {
        bytes: edge.config.form_bytes(),
        time: edge.config.upload_timeout,
        too_large: Reason::TooLarge,
        named_bytes: edge.config.max_upload_bytes,
    }
}

fn not_multipart() -> Refusal {
    Refusal::new(Reason::NotMultipart, "upload a form, as in `curl -F wasm=@FILE.wasm URL/deploy`")
}

fn malformed() -> Refusal {
    Refusal::new(Reason::MalformedForm, "the form can't be read: upload it as in `curl -F wasm=@FILE.wasm URL/deploy`")
}

fn long_head() -> Refusal {
    let (each, all) = (parts::HEAD_BYTES, parts::HEADS_BYTES);
    let message =
        format!("a part of a form has {each} bytes before its content at most, and all have {all}: give shorter names");
    Refusal::new(Reason::MalformedForm, message)
}

/// The parts of a form, with what it holds: of the budget, and a place among uploads. Both are held until it is taken apart, whether its
/// client waits for that or not.
async fn split(held: Held, upload: Slot, boundary: &str) -> Result<(Vec<Part>, (Hold, Slot)), Refusal> {
    let boundary = boundary.to_owned();
    let parts = apart(held.bytes.len(), move || {
        // The module, the fields, and one more of either, which is refused.
        (parts::split(&held.bytes, &boundary, MAX_FIELDS + 2), (held.hold, upload))
    });
    match parts.await? {
        (Ok(parts), held) => Ok((parts, held)),
        (Err(Fault::LongHead), _held) => Err(long_head()),
        (Err(Fault::Malformed), _held) => Err(malformed()),
    }
}

/// Does what takes as long as so many bytes are many: by a thread that serves no connections, where that may be a millisecond and more.
async fn apart<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    if bytes < APART_BYTES { Ok(work()) } else { spawn_blocking(work).await.map_err(|_| aborted()) }
}

/// What a form says, whose parts these are.
async fn fields(mut form: Multipart, parts: Vec<Part>, bounds: &Bounds) -> Result<Deploy, Refusal> {
    let mut wasm = None;
    let mut deploy = Deploy::default();
    let mut contents = parts.into_iter().map(|part| part.content);
    while let Some(field) = form.next_field().await.map_err(|_| malformed())? {
        let bytes = contents.next().ok_or_else(malformed)?;
        // Nothing is called by a longer name.
        let name = shown(field.name().unwrap_or_default());
        if name == "wasm" {
            deploy.file_name = field.file_name().map(last_segment);
            short(&name, deploy.file_name.as_ref().map_or(0, String::len), FILE_NAME_BYTES)?;
            if let (None, Some(named)) = (&deploy.file_name, file_name(&bytes)) {
                return Err(no_file(named));
            }
            if bytes.len() > bounds.named_bytes {
                return Err(bounds.too_large());
            }
            if wasm.replace(bytes).is_some() {
                return Err(Refusal::new(Reason::DuplicateField, "give `wasm` once").with("field", "wasm"));
            }
        } else if deploy.fields.len() < MAX_FIELDS {
            let text = text(bytes, &name)?;
            deploy.fields.push((name, text));
        } else {
            let message = format!("a form may have {MAX_FIELDS} fields beside `wasm`");
            return Err(Refusal::new(Reason::InvalidField, message).with("field", name));
        }
    }
    if wasm.is_none() && !deploy.fields.iter().any(|(name, _text)| name == REFERENCE) {
        let message = "add the module, as in `curl -F wasm=@FILE.wasm`, or with `ref` where it is in a registry";
        return Err(Refusal::new(Reason::MissingField, message).with("field", "wasm"));
    }
    deploy.wasm = wasm;
    Ok(deploy)
}

/// The name of a file, where that was given in place of its content.
fn file_name(bytes: &Bytes) -> Option<&str> {
    let is_one = bytes.len() <= FILE_NAME_BYTES && !bytes.starts_with(MAGIC) && !bytes.iter().any(u8::is_ascii_control);
    std::str::from_utf8(bytes).ok().filter(|text| is_one && !text.is_empty())
}

fn no_file(named: &str) -> Refusal {
    let named = shown(named);
    let message =
        format!("`wasm` is the text {named:?} and no module: `curl -F wasm=@FILE.wasm`, with an @, uploads a file");
    Refusal::new(Reason::InvalidField, message).with("field", "wasm")
}

fn text(bytes: Bytes, name: &str) -> Result<String, Refusal> {
    if bytes.starts_with(MAGIC) {
        let message =
            format!("`{name}` is a module: call its field `wasm`, as in `curl -F wasm=@FILE.wasm URL/deploy`");
        return Err(Refusal::new(Reason::InvalidField, message).with("field", name));
    }
    short(name, bytes.len(), TEXT_BYTES)?;
    String::from_utf8(bytes.into())
        .map_err(|_| Refusal::new(Reason::InvalidField, format!("`{name}` must be UTF-8")).with("field", name))
}

fn short(name: &str, size: usize, limit: usize) -> Result<(), Refusal> {
    if size <= limit {
        return Ok(());
    }
    let message = format!("`{name}` may have {limit} bytes, and has {size}");
    Err(Refusal::new(Reason::InvalidField, message).with("field", name).with("limit_bytes", limit))
}

/// Some clients send a path; the separators are those of any system.
fn last_segment(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::thread;

    #[tokio::test]
    async fn no_large_form_is_taken_apart_by_a_thread_that_serves_connections() {
        let serving = thread::current().id();
        let by = |bytes| async move { apart(bytes, || thread::current().id()).await.unwrap() };
        assert_eq!(by(APART_BYTES - 1).await, serving);
        assert_ne!(by(APART_BYTES).await, serving);
    }
}
