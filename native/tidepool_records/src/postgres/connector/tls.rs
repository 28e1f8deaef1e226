//! Whether connections to the database are encrypted, and whom they trust.
//!
//! The words are libpq's ([SSL support](https://www.postgresql.org/docs/current/libpq-ssl.html)), but what is encrypted is verified,
//! too: by `sslmode=require` as by `sslmode=verify-full` the database has to have a certificate for the host's name, and one that
//! `sslrootcert` vouches for, a file in PEM, or without that one of the authorities that browsers trust.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::record::StoreError;

/// A URL as the client of PostgreSQL knows it, and what it says of encryption beside.
pub(super) struct Wanted<'a> {
    pub(super) url: Cow<'a, str>,
    roots: Option<String>,
}

impl<'a> Wanted<'a> {
    /// Reads a URL. Anything else is left as it is.
    ///
    /// # Errors
    /// [`StoreError::Url`] when it asks for less than is verified here.
    pub(super) fn of(url: &'a str) -> Result<Self, StoreError> {
        let parts = url.split_once('?').filter(|(place, _parameters)| place.contains("://"));
        let Some((place, parameters)) = parts else { return Ok(Wanted { url: url.into(), roots: None }) };
        let mut roots = None;
        let mut kept = Vec::new();
        for parameter in parameters.split('&') {
            match parameter.split_once('=') {
                Some(("sslrootcert", path)) => roots = Some(percent_decode_str(path).decode_utf8_lossy().into_owned()),
                Some(("sslmode", "verify-full")) => kept.push("sslmode=require"),
                Some(("sslmode", "verify-ca")) => {
                    return Err(wrong("sslmode=verify-ca does not look at the host's name: say sslmode=verify-full"));
                }
                _ => kept.push(parameter),
            }
        }
        Ok(Wanted { url: format!("{place}?{}", kept.join("&")).into(), roots })
    }

    /// What encrypts connections.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the file of `sslrootcert` has no certificate.
    pub(super) fn encryption(&self) -> Result<MakeRustlsConnect, StoreError> {
        let mut roots = RootCertStore::empty();
        match &self.roots {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let unusable = |why: String| wrong(&format!("sslrootcert can't be used: {path}: {why}"));
                let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                    roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(unusable("it has no certificate in PEM".into()));
                }
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error.to_string()))?;
        Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
    }
}

fn wrong(why: &str) -> StoreError {
    StoreError::Url(format!("the URL of the database: {why}").into())
}
