//! One connection, and one request on it.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::HttpPlan;
use crate::content::Verdict;
use crate::net::{Net, TokioNet};
use crate::record::Failure;
use crate::tcp::client_socket;

/// Runs hyper's tasks on the thread of the one who spawns them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExec;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

/// A connection requests can be sent on.
pub(super) enum Sender {
    /// HTTP/1.1: one at a time.
    Http1(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2: many at a time.
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// Whether another request can be sent.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        }
    }
}

/// Opens connections and makes requests on them.
pub(super) struct Client {
    pub(super) plan: Arc<HttpPlan>,
}

impl Client {
    /// Opens a connection for request `n`.
    pub(super) async fn connect(&self, n: u64) -> Result<Sender, Failure> {
        let plan = &*self.plan;
        let socket = client_socket(plan.target, &plan.sources, n, plan.linger0, true)?;
        let stream: TcpStream = TokioNet.connect(socket, plan.target).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        if plan.http2 {
            let (sender, connection) = http2::handshake(LocalExec, io).await.map_err(|error| kind(&error))?;
            // How it ends is told to the requests on it.
            tokio::task::spawn_local(async move { drop(connection.await) });
            Ok(Sender::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(|error| kind(&error))?;
            tokio::task::spawn_local(async move { drop(connection.await) });
            Ok(Sender::Http1(sender))
        }
    }

    /// Sends one request and reads its answer.
    pub(super) async fn exchange(&self, sender: &mut Sender) -> Result<(), Failure> {
        let request = self.plan.request();
        let answered = match sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
        };
        self.read(answered.map_err(|error| kind(&error))?).await
    }

    async fn read(&self, response: Response<Incoming>) -> Result<(), Failure> {
        let status = response.status();
        let good = self.plan.status.map_or_else(|| status.is_success(), |wanted| wanted == status);
        let mut check = self.plan.expect.check();
        let mut wrong = false;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| kind(&error))?;
            if let Some(part) = frame.data_ref().filter(|part| !part.is_empty()) {
                wrong |= check.take(part) == Verdict::Wrong;
            }
        }
        if !good {
            Err(Failure::WrongStatus(status.as_u16()))
        } else if wrong || !check.is_whole() {
            Err(Failure::WrongContent)
        } else {
            Ok(())
        }
    }
}

/// hyper's error as one of ours.
fn kind(error: &hyper::Error) -> Failure {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Failure::from(io);
        }
        source = inner.source();
    }
    if error.is_timeout() {
        Failure::Timeout
    } else if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
        Failure::Reset
    } else {
        Failure::Protocol
    }
}
