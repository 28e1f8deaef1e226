//! TLS in front of HTTP: who the server says that it is, and whether clients have to say who they are.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::TlsAcceptor;

/// The first byte of a client that speaks TLS: the type of the record that its hello is in (RFC 8446, 5.1). None of HTTP's.
pub(crate) const HANDSHAKE: u8 = 22;

/// What clients may go on with, by preference (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key, and whom it asks for one in turn.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

/// Says nothing of the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// Why a certificate can't be used. Messages name the node's settings that files are of.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate, or a part of it is none.
    #[error("{setting}: there is no certificate in PEM")]
    NoCertificate {
        /// Where one should be.
        setting: &'static str,
    },
    /// There is no key.
    #[error("tls_key: there is no private key in PEM without a password")]
    NoKey,
    /// What clients' certificates are to be of is no certificate that others can be of.
    #[error("tls_clients can't be used: {0}")]
    Clients(String),
    /// The two don't belong together, or are of a kind that is not known.
    #[error("tls_cert and tls_key can't be used: {0}")]
    Rejected(#[from] rustls::Error),
}

impl Identity {
    /// Of a server: its certificate, with those between it and one that clients know, and its key. With `clients`, certificates
    /// as well, each client has to have one that one of them vouches for. All are PEM.
    ///
    /// # Errors
    /// Why they can't be used: see [`TlsError`].
    pub fn from_pem(certificates: &[u8], key: &[u8], clients: Option<&[u8]>) -> Result<Self, TlsError> {
        let chain = all(certificates, "tls_cert")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                for root in all(clients, "tls_clients")? {
                    roots.add(root).map_err(|error| TlsError::Clients(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::Clients(error.to_string()))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Identity(Arc::new(config)))
    }
}

fn all(pem: &[u8], setting: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::NoCertificate { setting }),
    }
}

/// The identity for connections to come.
#[derive(Debug)]
pub(crate) struct Tls(Mutex<Identity>);

impl Tls {
    pub(crate) fn new(identity: Identity) -> Self {
        Tls(Mutex::new(identity))
    }

    /// Connections that there are keep theirs.
    pub(crate) fn replace(&self, identity: Identity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let identity = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&identity.0))
    }
}
