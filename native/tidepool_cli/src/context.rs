//! What every command has: a node, made when it is first asked, and somebody to tell.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::failure::Failure;
use crate::node::{Address, AddressError, Authorities, Node, Token};
use crate::output::Output;

/// How long a request may take that may take minutes, where nothing is said.
const PATIENCE: Duration = Duration::from_secs(600);

/// The options that all commands have.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The node's address [default: TIDEPOOL_URL, or http://127.0.0.1:4000]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// A file with the token [default: TIDEPOOL_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file of certificates, in PEM, that vouch for the node's, or a registry's, in place of those that all know [default: TIDEPOOL_CA]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long a request may take, as 5s or 2m [default: 30s; calls, deploys and pushes 10m]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Answer in JSON: one object on a line, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What a command has to work with.
#[derive(Debug)]
pub(crate) struct Context {
    options: Options,
    /// Who is told.
    pub(crate) output: Output,
}

impl Context {
    /// That of the command line.
    pub(crate) fn new(options: Options) -> Self {
        let output = Output::new(options.json);
        Self { options, output }
    }

    /// The node that was named.
    ///
    /// # Errors
    ///
    /// When its address or the token can't be used.
    pub(crate) fn node(&self) -> Result<Node, AddressError> {
        let named = self.options.url.clone().or_else(|| variable("TIDEPOOL_URL"));
        let address = Address::parse(named.as_deref().unwrap_or(Address::DEFAULT))?;
        let token = match &self.options.token_file {
            Some(path) => Some(Token::read(path)?),
            None => variable("TIDEPOOL_TOKEN").map(|text| Token::new(&text)).transpose()?,
        };
        Ok(Node::new(address, token, self.authorities()?, self.options.timeout))
    }

    /// Who vouches for the server, if somebody was named.
    ///
    /// # Errors
    ///
    /// When the file that names them can't be used.
    pub(crate) fn authorities(&self) -> Result<Option<Authorities>, AddressError> {
        let named = self.options.ca.clone().or_else(|| variable("TIDEPOOL_CA").map(PathBuf::from));
        named.as_deref().map(Authorities::read).transpose()
    }

    /// How long a request may take that may take minutes.
    pub(crate) fn patience(&self) -> Duration {
        self.options.timeout.unwrap_or(PATIENCE)
    }
}

/// One that is set to nothing is not set.
fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// A file's bytes, or those of standard input for `-`.
///
/// # Errors
///
/// When it can't be read, or is a device or a folder.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
        return Ok(bytes);
    }
    // A pipe that nobody writes into is told of, and not waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Failure::NoFile { path: path.to_owned() });
    }
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
