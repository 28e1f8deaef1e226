//! `tidepool call`, and how all calls send what they are about.

mod replies;
mod request;

use std::path::{Path as FilePath, PathBuf};
use std::time::Instant;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde_json::Value;
use tidepool_errors::Reason;

use self::replies::{add, last_words, said};
use self::request::request;
use crate::context::{Context, read};
use crate::failure::Failure;
use crate::node::{Asked, Header, Node, NodeError, Path, Target, headers, method};

/// `tidepool call`
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// Which function
    name: String,
    /// Which operation [default: the function's own]; of a handler of HTTP the method
    #[arg(value_name = "OPERATION|METHOD")]
    operation: Option<String>,
    /// Of a handler of HTTP the path, and the query
    #[arg(value_parser = Target::parse)]
    path: Option<Target>,
    /// A header of the request, as 'NAME: VALUE'; there may be several
    #[arg(short = 'H', long = "header", value_name = "HEADER", requires = "path",
          value_parser = OsStringValueParser::new().try_map(Header::parse))]
    headers: Vec<Header>,
    /// Show the status and the headers of the response, too
    #[arg(short, long, requires = "path")]
    include: bool,
    #[command(flatten)]
    payload: Payload,
}

impl Call {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        let Self { name, operation, path, headers: given, include, payload } = self;
        if let (Some(word), Some(target)) = (operation, path) {
            let method = method(word).ok_or_else(|| Failure::Method { method: word.clone() })?;
            let (target, body) = (target.clone(), payload.body()?);
            let node = context.node()?;
            let shape = Shape::of(&node, name)?;
            if let Shape::Function = shape {
                return Err(Failure::NotAHandler { name: name.clone() });
            }
            let asked = Asked { method, target, headers: headers(given), body };
            return request(context, &node, name, asked, *include).map_err(|failure| shape.explain(failure));
        }
        if let Shape::Handler = Shape::of(&context.node()?, name)? {
            return Err(Failure::Handler { name: name.clone() });
        }
        let path = match operation {
            None => Path::of(&["call", name]),
            Some(operation) => Path::of(&["call", name, operation]),
        };
        call(context, &path, payload)
    }
}

/// What a function is asked by.
enum Shape {
    /// Requests of HTTP.
    Handler,
    /// Operations.
    Function,
    /// The node does not say so, which the call itself may do then: what it says instead.
    Unknown(NodeError),
}

impl Shape {
    /// That of a function.
    ///
    /// # Errors
    ///
    /// When there is no node.
    fn of(node: &Node, name: &str) -> Result<Self, NodeError> {
        match node.get(&Path::of(&["functions", name])) {
            Ok(shown) if shown.get("abi").is_some_and(|abi| abi == "http") => Ok(Self::Handler),
            Ok(_) => Ok(Self::Function),
            Err(error @ (NodeError::Unreachable { .. } | NodeError::Untrusted { .. } | NodeError::Slow { .. })) => {
                Err(error)
            }
            Err(error) => Ok(Self::Unknown(error)),
        }
    }

    /// Why a request failed: where there is no such function, its path is none of a call's, which says less.
    fn explain(self, failure: Failure) -> Failure {
        let told = |error: &NodeError, reason| error.told() == Some(reason);
        match (self, failure) {
            (Self::Unknown(error), Failure::Node(refused))
                if told(&error, Reason::NotDeployed) && told(&refused, Reason::NotFound) =>
            {
                error.into()
            }
            (_, failure) => failure,
        }
    }
}

/// What a call is about.
#[derive(Debug, Args)]
pub(crate) struct Payload {
    /// The payload, as text; in a request for a handler of HTTP, @FILE is a file's
    #[arg(long, short, value_name = "TEXT", conflicts_with = "file")]
    data: Option<String>,
    /// A file with the payload; - is standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Payload {
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        match (&self.data, &self.file) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(path)) => read(path),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The body of a request, if there is to be one.
    fn body(&self) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(file) = self.data.as_ref().and_then(|text| text.strip_prefix('@')) {
            return read(FilePath::new(file)).map(Some);
        }
        if self.data.is_none() && self.file.is_none() { Ok(None) } else { self.bytes().map(Some) }
    }
}

/// Calls what is at the path, and shows the reply as it is.
///
/// # Errors
///
/// When the node refuses it, or the guest fails: what it left behind is shown, too.
pub(crate) fn call(context: &Context, path: &Path, payload: &Payload) -> Result<(), Failure> {
    let node = context.node()?;
    let payload = payload.bytes()?;
    let began = Instant::now();
    let answer = node.call(path, payload).inspect_err(|error| last_words(context, error))?;
    let took = began.elapsed();
    if !context.output.is_json() {
        return Ok(context.output.bytes(&answer.body)?);
    }
    let mut value = said(answer.status, took);
    add(&mut value, answer.body);
    Ok(context.output.say(&Value::Object(value), String::new)?)
}
