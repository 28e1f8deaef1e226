//! What the edge asks of whoever runs the functions.

use crate::answer::Response;
use crate::exchange::{Later, Pending};
use bytes::Bytes;

/// Answers requests. The edge calls it from its connection tasks, many at once.
pub trait Backend: Send + Sync + 'static {
    /// Takes one request over. Other connections wait while this runs, so it returns soon: with the answer, or with a
    /// responder made that answers later.
    ///
    /// A responder is answered once, from any thread. Dropped without an answer, it gives the client 500 `aborted`. A
    /// panic here gives the client 500 `backend_panicked`.
    fn request(&self, route: Route, later: Later<'_>) -> Answer;
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Answer {
    /// It is answered.
    Now(Response),
    /// Its responder answers it; see [`Later::responder`].
    Later(Pending),
}

/// What a request asks for, read in full and within its limits. A new route is a variant here and a line in `control.rs`.
#[derive(Debug)]
pub enum Route {
    /// `POST /deploy`.
    Deploy(Deploy),
    /// `GET|POST /call/{function}` and `/call/{function}/{operation}`.
    Call {
        /// Name in the path, percent-decoded.
        function: String,
        /// Second segment of the path, percent-decoded.
        operation: Option<String>,
        /// Body of a POST; `payload` of the query of a GET.
        payload: Bytes,
    },
    /// `GET /functions`.
    List,
    /// `GET /functions/{function}`.
    Show {
        /// Name in the path, percent-decoded.
        function: String,
    },
    /// `DELETE /functions/{function}`.
    Remove {
        /// Name in the path, percent-decoded.
        function: String,
    },
    /// `GET /cluster`.
    Cluster,
    /// `GET /health`.
    Health,
    /// `GET /metrics`.
    Metrics,
}

/// The form of a deploy. Only shapes are checked here; what the values mean is the backend's.
#[derive(Debug, Default)]
pub struct Deploy {
    /// The uploaded file, as it came: not known to be a module.
    pub wasm: Bytes,
    /// Last segment of the file name the client gave with it.
    pub file_name: Option<String>,
    /// Field `name`.
    pub name: Option<String>,
    /// Field `operation`.
    pub operation: Option<String>,
    /// Field `instances`.
    pub instances: Option<String>,
    /// Field `engine`.
    pub engine: Option<String>,
    /// Field `snapshot`.
    pub snapshot: Option<String>,
    /// Field `limits`: always a JSON object.
    pub limits: Option<serde_json::Value>,
    /// Parameters of the query string in their order, decoded, such as `("wait", "all")`.
    pub query: Vec<(String, String)>,
}
