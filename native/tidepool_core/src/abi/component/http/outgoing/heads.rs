//! What the head of a guest's request has, as the guest gives it.

use wasmtime::component::{ComponentType, Lift};
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};

use crate::abi::component::define::Text;

/// A method, whose text is looked at before it is decoded.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum GivenMethod {
    #[component(name = "get")]
    Get,
    #[component(name = "head")]
    Head,
    #[component(name = "post")]
    Post,
    #[component(name = "put")]
    Put,
    #[component(name = "delete")]
    Delete,
    #[component(name = "connect")]
    Connect,
    #[component(name = "options")]
    Options,
    #[component(name = "trace")]
    Trace,
    #[component(name = "patch")]
    Patch,
    #[component(name = "other")]
    Other(Text),
}

impl From<GivenMethod> for Method {
    fn from(given: GivenMethod) -> Self {
        match given {
            GivenMethod::Get => Method::Get,
            GivenMethod::Head => Method::Head,
            GivenMethod::Post => Method::Post,
            GivenMethod::Put => Method::Put,
            GivenMethod::Delete => Method::Delete,
            GivenMethod::Connect => Method::Connect,
            GivenMethod::Options => Method::Options,
            GivenMethod::Trace => Method::Trace,
            GivenMethod::Patch => Method::Patch,
            GivenMethod::Other(text) => Method::Other(text.into()),
        }
    }
}

/// The same of a scheme.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum GivenScheme {
    #[component(name = "HTTP")]
    Http,
    #[component(name = "HTTPS")]
    Https,
    #[component(name = "other")]
    Other(Text),
}

impl From<GivenScheme> for Scheme {
    fn from(given: GivenScheme) -> Self {
        match given {
            GivenScheme::Http => Scheme::Http,
            GivenScheme::Https => Scheme::Https,
            GivenScheme::Other(text) => Scheme::Other(text.into()),
        }
    }
}
