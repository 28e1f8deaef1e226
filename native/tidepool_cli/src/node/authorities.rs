//! Who vouches for a node's certificate: of a private authority, a file names it.

use std::fs;
use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::AddressError;

/// The longest file of certificates that is read.
const FILE_BYTES: u64 = 1 << 20;

/// Certificates that vouch for a node's, and no others do.
#[derive(Debug, Clone)]
pub(crate) struct Authorities(Vec<Certificate<'static>>);

impl Authorities {
    /// Reads certificates from a file of PEM.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or has none.
    pub(crate) fn read(path: &Path) -> Result<Self, AddressError> {
        let none = || AddressError::NoAuthority { path: path.to_owned() };
        let failed = |source| AddressError::AuthorityFile { path: path.to_owned(), source };
        let size = fs::metadata(path).map_err(failed)?;
        if !size.is_file() || size.len() > FILE_BYTES {
            return Err(none());
        }
        let pem = fs::read(path).map_err(failed)?;
        let certificate = |item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_other) => None,
            Err(_malformed) => Some(Err(none())),
        };
        let all = parse_pem(&pem).filter_map(certificate).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() { Err(none()) } else { Ok(Self(all)) }
    }

    /// TLS with nodes that these vouch for.
    pub(crate) fn tls(&self) -> TlsConfig {
        TlsConfig::builder().root_certs(RootCerts::new_with_certs(&self.0)).build()
    }
}
