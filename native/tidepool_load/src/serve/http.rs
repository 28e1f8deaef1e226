//! An HTTP/1.1 and HTTP/2 (prior knowledge) server that answers with canned bytes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::{announce, listen};
use crate::content::{self, STREAM_LIMIT};
use crate::error::InputError;
use crate::http::LocalExec;

/// A path and the file that answers it.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    path: String,
    file: PathBuf,
}

/// Not of the form `PATH=FILE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no route: write /path=file")]
pub(crate) struct RouteError(String);

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Route, RouteError> {
        match text.split_once('=') {
            Some((path, file)) if path.starts_with('/') && !file.is_empty() => {
                Ok(Route { path: path.to_owned(), file: PathBuf::from(file) })
            }
            _ => Err(RouteError(text.to_owned())),
        }
    }
}

/// What is answered to what.
#[derive(Debug)]
struct Answers {
    by_path: HashMap<String, Bytes>,
    other: Option<Bytes>,
    status: StatusCode,
}

impl Answers {
    fn to(&self, path: &str) -> (StatusCode, Bytes) {
        match self.by_path.get(path).or(self.other.as_ref()) {
            Some(body) => (self.status, body.clone()),
            None => (StatusCode::NOT_FOUND, Bytes::from_static(b"no such path\n")),
        }
    }
}

/// Starts the acceptors, one thread and one listener each.
///
/// # Errors
/// [`InputError::Listen`] when the port can't be had, or what is wrong with a file.
pub(crate) fn start(
    addr: SocketAddr,
    acceptors: usize,
    backlog: i32,
    routes: &[Route],
    other: Option<Bytes>,
    status: u16,
) -> Result<(), InputError> {
    let mut by_path = HashMap::new();
    for route in routes {
        by_path.insert(route.path.clone(), content::from_file(&route.file, STREAM_LIMIT)?);
    }
    let status =
        StatusCode::from_u16(status).map_err(|_| InputError::Options("--status goes from 200 to 599".to_owned()))?;
    let answers = Arc::new(Answers { by_path, other, status });
    let (bound, listeners) = listen::tcp(addr, acceptors, backlog)?;
    for listener in listeners {
        let answers = Arc::clone(&answers);
        std::thread::Builder::new().name("acceptor".to_owned()).spawn(move || {
            if let Err(error) = accept(listener, &answers) {
                eprintln!("tidepool-load: an acceptor ended: {error}");
            }
        })?;
    }
    announce("http", bound)
}

fn accept(listener: std::net::TcpListener, answers: &Arc<Answers>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        let server = Arc::new(auto::Builder::new(LocalExec));
        loop {
            let Ok((stream, _from)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            // Small answers must not wait for each other; without it they are only slower.
            drop(stream.set_nodelay(true));
            let (server, answers) = (Arc::clone(&server), Arc::clone(answers));
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| answer(Arc::clone(&answers), request));
                // What a client does to its connection is the client's to count.
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}

fn answer(
    answers: Arc<Answers>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> {
    let (status, body) = answers.to(request.uri().path());
    async move {
        let mut content = request.into_body();
        while let Some(Ok(_part)) = content.frame().await {}
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        Ok(response)
    }
}
