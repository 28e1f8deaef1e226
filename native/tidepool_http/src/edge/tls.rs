//! TLS in front of HTTP: who the server says that it is, and whether clients have to say who they are.

use crate::edge::certificates::{Certificates, NamedPem, TlsError, Unfit, all, certified};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::TlsAcceptor;

/// The first byte of a client that speaks TLS: the type of the record that its hello is in (RFC 8446, 5.1). None of HTTP's.
pub(crate) const HANDSHAKE: u8 = 22;

/// What clients may go on with, by preference (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The name of the setting whose file has the certificate, and of the one whose file has its key.
const CERT: &str = "tls_cert";
const KEY: &str = "tls_key";
/// The name of the setting whose folder has more of them.
const NAMED: &str = "tls_certs";
/// The name of the setting whose file has what clients' certificates are to be of.
const CLIENTS: &str = "tls_clients";

/// Certificates with their keys, and whom they ask for one in turn.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

/// Says nothing of the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// Of a server: its certificate, with those between it and one that clients know, and its key. Clients that ask for a host that
    /// one of `named` is for get that; what is wrong with one is said beside it, and all others are used.
    /// With `clients`, certificates as well, each client has to have one that one of these vouches for. All are PEM.
    ///
    /// # Errors
    /// Why the others can't be used: see [`TlsError`].
    pub fn from_pem(
        certificates: &[u8],
        key: &[u8],
        named: &[NamedPem<'_>],
        clients: Option<&[u8]>,
    ) -> Result<(Self, Vec<Unfit>), TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut shown = Certificates::new(certified((certificates, CERT), (key, KEY), &provider)?);
        let mut unfit = Vec::new();
        for NamedPem { name, certificates, key } in named {
            let [certificate_of, key_of] = ["crt", "key"].map(|kind| format!("{NAMED}: {name}.{kind}"));
            let certified = certified((certificates, &certificate_of), (key, &key_of), &provider);
            if let Err(error) = certified.and_then(|certified| shown.add(&certificate_of, certified)) {
                unfit.push(Unfit { name: (*name).to_owned(), error });
            }
        }
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                for root in all(clients, CLIENTS)? {
                    roots.add(root).map_err(|error| TlsError::Clients(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::Clients(error.to_string()))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok((Identity(Arc::new(config)), unfit))
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
