//! Why a socket can't be had, or not be used.

use std::io;

/// Why an operation failed: shown, it is what the guest is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    #[error("the function is not granted {wanted}: its deploy's option `net` lists what is")]
    NotGranted { wanted: String },
    #[error("this node grants nobody {wanted}: its setting `net` says what may be granted")]
    NotAllowed { wanted: String },
    #[error("the program has the {most} sockets that it may have")]
    ProgramFull { most: usize },
    #[error("no socket is left for this function, of the {most} that all functions of this node may have together")]
    NodeFull { most: usize },
    #[error("`{name}` is no host and port, such as example.com:80")]
    Name { name: String },
    #[error("the name `{name}` could not be resolved: {error}")]
    Unresolved { name: String, error: io::Error },
    #[error("the name `{name}` has no address")]
    NoAddress { name: String },
    #[error("{what} takes longer than {ms} ms")]
    TimedOut { what: &'static str, ms: u64 },
    #[error("there is no {what} in the PEM that was given")]
    NoPem { what: &'static str },
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Most bytes of a host's name (RFC 1035, section 2.3.4), and most characters of what is none that an error tells.
pub(super) const MAX_NAME_BYTES: usize = 253;

impl NetError {
    /// This is no name. An error is kept for the guest: it has no more of what the guest gave than a name may have.
    pub(super) fn name(text: &str) -> Self {
        NetError::Name { name: text.chars().take(MAX_NAME_BYTES).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_no_more_of_what_is_no_name_than_a_name_may_have() {
        let told = |text: &str| NetError::name(text).to_string();
        assert_eq!(told("no port"), "`no port` is no host and port, such as example.com:80");
        assert_eq!(told(&"é".repeat(1_000_000)), told(&"é".repeat(MAX_NAME_BYTES)));
        assert_ne!(told(&"é".repeat(1_000_000)), told(&"é".repeat(MAX_NAME_BYTES - 1)));
    }
}
