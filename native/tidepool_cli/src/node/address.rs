//! Where a node is, and the token that opens it. Neither is ever read from a project: a project that somebody sent
//! would else have the token sent to whom it likes.

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ureq::http::Uri;

/// The longest token that is taken from a file.
const TOKEN_BYTES: u64 = 4_096;

/// Why an address or a token can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    /// No URL of a node.
    #[error("`{url}` is no address of a node: write http://HOST:PORT or https://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// A password in a URL ends up in histories and logs.
    #[error("the address has a user or a password in it: leave it out, and set TIDEPOOL_TOKEN")]
    Credentials,
    /// A token that no header can hold.
    #[error("the token is empty, or has characters that none has: it is the node's TIDEPOOL_TOKEN, on one line")]
    Token,
    /// The file of certificates can't be read.
    #[error("the certificates that vouch for the node can't be read from {path}: {source}")]
    AuthorityFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of certificates has none.
    #[error("{path} has no certificate in PEM: name one that vouches for the node's")]
    NoAuthority {
        /// Which file.
        path: PathBuf,
    },
    /// The file with the token can't be read.
    #[error("the token can't be read from {path}: {source}")]
    TokenFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl AddressError {
    /// A word to match on.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Url { .. } | Self::Credentials => "invalid_address",
            Self::Token => "invalid_token",
            Self::NoAuthority { .. } => "no_certificate",
            Self::AuthorityFile { .. } | Self::TokenFile { .. } => "unreadable",
        }
    }
}

/// Where a node is.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    base: String,
    host: String,
    secure: bool,
}

impl Address {
    /// Where a node listens when nobody says otherwise.
    pub(crate) const DEFAULT: &str = "http://127.0.0.1:4000";

    /// Reads `http://HOST[:PORT][/PATH]`, or the same with `https`.
    ///
    /// # Errors
    ///
    /// For what is no such URL, or has a user in it.
    pub(crate) fn parse(url: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::Credentials);
        }
        if uri.query().is_some() || url.contains('#') || authority.host().is_empty() {
            return Err(wrong());
        }
        let scheme = if secure { "https" } else { "http" };
        let base = format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'));
        Ok(Self { base, host: authority.host().to_owned(), secure })
    }

    /// The URL of a path of the node.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Whether somebody on the way could read what is sent.
    pub(crate) fn is_in_the_clear(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        let loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        !self.secure && !loopback
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.base)
    }
}

/// A node's token. It does not show in messages.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Takes a token, without the space around it.
    ///
    /// # Errors
    ///
    /// When it is empty, or a header can't hold it.
    pub(crate) fn new(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || !printable { Err(AddressError::Token) } else { Ok(Self(text.to_owned())) }
    }

    /// Reads a token from a file that has nothing else in it.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or has no token.
    pub(crate) fn read(path: &Path) -> Result<Self, AddressError> {
        let failed = |source| AddressError::TokenFile { path: path.to_owned(), source };
        // So that a device, or a large file that was meant for something else, is not read to its end.
        let size = fs::metadata(path).map_err(failed)?;
        if !size.is_file() || size.len() > TOKEN_BYTES {
            return Err(AddressError::Token);
        }
        Self::new(&fs::read_to_string(path).map_err(failed)?)
    }

    /// The header's value.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token")
    }
}
