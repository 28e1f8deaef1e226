//! What a guest is told of a request that failed, in the words of `wasi:http`.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};

use rustls::AlertDescription;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use crate::base::request::exchange::Refusal;
use crate::net::error::NetError;
use crate::net::http::failure::{Failure, cause};

/// Why the rest of a request's body does not come, as hyper carries it.
#[derive(Debug)]
pub(super) struct Sent(pub(super) Error);

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Sent {}

/// Why a function gives no response.
pub(super) struct Refused(pub(super) Refusal);

impl From<Refused> for Error {
    fn from(Refused(why): Refused) -> Self {
        match why {
            Refusal::Missing => Error::DestinationNotFound,
            Refusal::Unavailable => Error::DestinationUnavailable,
            Refusal::Denied => Error::HttpRequestDenied,
            Refusal::TooDeep => Error::LoopDetected,
            Refusal::Full => Error::ConnectionLimitReached,
            Refusal::Late => Error::HttpResponseTimeout,
            Refusal::Failed(message) => Error::InternalError(Some(message)),
        }
    }
}

/// Of a request to a server.
pub(super) fn told(failure: &Failure) -> Error {
    match failure {
        Failure::Net(error) => net(error),
        Failure::ConnectTimeout => Error::ConnectionTimeout,
        Failure::FirstByteTimeout => Error::ConnectionReadTimeout,
        Failure::BetweenBytesTimeout => Error::ConnectionReadTimeout,
        Failure::Heads => Error::HttpProtocolError,
        Failure::Uri => Error::HttpRequestUriInvalid,
        Failure::Http(error) => http(error),
    }
}

fn net(error: &NetError) -> Error {
    match error {
        NetError::NotGranted { .. } | NetError::NotAllowed { .. } => Error::HttpRequestDenied,
        NetError::ProgramFull { .. } | NetError::NodeFull { .. } => Error::ConnectionLimitReached,
        NetError::Name { .. } => Error::HttpRequestUriInvalid,
        NetError::Unresolved { .. } | NetError::NoAddress { .. } => {
            Error::DnsError { rcode: Some(error.to_string()), info_code: None }
        }
        NetError::TimedOut { .. } => Error::ConnectionTimeout,
        NetError::NoPem { .. } => Error::ConfigurationError,
        NetError::Tls(error) => tls(error),
        NetError::Io(error) => system(error),
    }
}

fn tls(error: &rustls::Error) -> Error {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Error::TlsCertificateError,
        rustls::Error::AlertReceived(alert) => {
            Error::TlsAlertReceived { alert_id: Some(number(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        _ => Error::TlsProtocolError,
    }
}

fn number(alert: AlertDescription) -> u8 {
    alert.into()
}

fn system(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        ErrorKind::TimedOut => Error::ConnectionTimeout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
            Error::DestinationIpUnroutable
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        | ErrorKind::UnexpectedEof => Error::ConnectionTerminated,
        _ => Error::InternalError(Some(error.to_string())),
    }
}

fn http(error: &hyper::Error) -> Error {
    if let Some(error) = cause::<NetError>(error) {
        return net(error);
    }
    if let Some(Sent(_error)) = cause::<Sent>(error) {
        return Error::ConnectionTerminated;
    }
    if error.is_incomplete_message() {
        return Error::HttpResponseIncomplete;
    }
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(None);
    }
    // What it has of the system's it keeps to itself.
    let of_http2 = cause::<h2::Error>(error);
    if of_http2.is_some_and(|error| error.is_io() || error.is_remote() && (error.is_reset() || error.is_go_away())) {
        return Error::HttpResponseIncomplete;
    }
    match cause::<io::Error>(error) {
        Some(error) if error.kind() == ErrorKind::UnexpectedEof => Error::HttpResponseIncomplete,
        Some(error) => system(error),
        None if error.is_canceled() || error.is_closed() => Error::ConnectionTerminated,
        None => Error::HttpProtocolError,
    }
}

/// Of the rest of a function's response.
pub(super) fn broken(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::FileTooLarge => Error::HttpResponseBodySize(None),
        _ => Error::HttpResponseIncomplete,
    }
}

/// The code of why a body broke off. wasmtime-wasi-http looks for a code, and carries this error of its own.
pub(super) fn code(error: &Error) -> ErrorCode {
    match error {
        Error::HttpRequestBodySize(size) => ErrorCode::HttpRequestBodySize(*size),
        Error::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::HttpProtocolError => ErrorCode::HttpProtocolError,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::ConnectionTimeout => ErrorCode::ConnectionTimeout,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::TlsProtocolError => ErrorCode::TlsProtocolError,
        other => ErrorCode::InternalError(Some(other.to_string())),
    }
}
