//! For tests of what is before a backend: one that answers at once, with nothing.

use crate::backend::contract::{Backend, Route};
use crate::backend::responder::{Answer, Deferral};
use crate::message::response::{ContentType, Response};

pub(crate) struct Idle;

impl Backend for Idle {
    fn request(&self, _route: Route, _deferral: Deferral<'_>) -> Answer {
        Answer::Now(Response::new(200, ContentType::Bytes, Vec::new()))
    }
}
