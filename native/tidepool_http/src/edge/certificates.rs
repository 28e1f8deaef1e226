//! The certificates of a server, by the name of the host that a client asks for (RFC 6066, 3).

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;
use webpki::EndEntityCert;

/// A certificate of a folder with its key, both as PEM.
#[derive(Debug)]
pub struct NamedPem<'a> {
    /// What the two files are called, without `.crt` and `.key`: messages say it.
    pub name: &'a str,
    /// The certificate, with those between it and one that clients know.
    pub certificates: &'a [u8],
    /// Its private key, without a password.
    pub key: &'a [u8],
}

/// Why a certificate can't be used. Messages name the node's settings that files are of.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate, or a part of it is none.
    #[error("{setting}: there is no certificate in PEM")]
    NoCertificate {
        /// Where one should be.
        setting: String,
    },
    /// There is no key.
    #[error("{setting}: there is no private key in PEM without a password")]
    NoKey {
        /// Where one should be.
        setting: String,
    },
    /// A certificate of a folder has no name of a host that clients could ask for.
    #[error("{setting}: the certificate has no name of a host")]
    NoName {
        /// Where the certificate is.
        setting: String,
    },
    /// Two certificates of a folder have the same name.
    #[error("{setting}: the certificate is for {name}, as another is")]
    Twice {
        /// Where the second is.
        setting: String,
        /// The name of a host.
        name: String,
    },
    /// What clients' certificates are to be of is no certificate that others can be of.
    #[error("tls_clients can't be used: {0}")]
    Clients(String),
    /// A certificate and its key don't belong together, or are of a kind that is not known.
    #[error("{settings} can't be used: {error}")]
    Rejected {
        /// Where both are.
        settings: String,
        /// Why not.
        error: rustls::Error,
    },
    /// TLS as such can't be had.
    #[error("TLS can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A certificate of a folder with which something is wrong.
#[derive(Debug)]
pub struct Unfit {
    /// What its files are called, as [`NamedPem::name`].
    pub name: String,
    /// What is wrong.
    pub error: TlsError,
}

impl Unfit {
    /// Is it shown for some of its hosts all the same?
    #[must_use]
    pub fn is_used(&self) -> bool {
        matches!(self.error, TlsError::Twice { .. })
    }
}

/// Which certificate is shown to whom.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// To who asks for a host that no other is for, or for none.
    general: Arc<CertifiedKey>,
    /// By names of hosts in lower case. That of a wildcard begins with a dot.
    named: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    pub(crate) fn new(general: CertifiedKey) -> Self {
        Certificates { general: Arc::new(general), named: HashMap::new() }
    }

    /// Has `key` shown for the names that its certificate has and no other; `setting` says where that is.
    ///
    /// # Errors
    /// `TlsError::NoName` for a certificate without any, `TlsError::Twice` for one with a name that another has.
    pub(crate) fn add(&mut self, setting: &str, key: CertifiedKey) -> Result<(), TlsError> {
        let names = names(&key).filter(|names| !names.is_empty());
        let names = names.ok_or_else(|| TlsError::NoName { setting: setting.to_owned() })?;
        let key = Arc::new(key);
        let mut added = Ok(());
        for name in names {
            let shown = self.named.entry(name.clone()).or_insert_with(|| Arc::clone(&key));
            // One certificate may have a name twice.
            if !Arc::ptr_eq(shown, &key) {
                let name = if name.starts_with('.') { format!("*{name}") } else { name };
                added = Err(TlsError::Twice { setting: setting.to_owned(), name });
            }
        }
        added
    }

    /// That of a host, whose name is in any case. A wildcard stands for one label (RFC 6125, 6.4.3), and comes after whole names.
    fn of(&self, host: &str) -> Arc<CertifiedKey> {
        let host = host.to_ascii_lowercase();
        let wild = || host.find('.').and_then(|dot| host.get(dot..)).and_then(|rest| self.named.get(rest));
        Arc::clone(self.named.get(&host).or_else(wild).unwrap_or(&self.general))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(hello.server_name().map_or_else(|| Arc::clone(&self.general), |host| self.of(host)))
    }
}

/// The names of hosts that a certificate has; `None` where it can't be read.
fn names(key: &CertifiedKey) -> Option<Vec<String>> {
    let certificate = EndEntityCert::try_from(key.cert.first()?).ok()?;
    let name = |name: &str| name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase();
    Some(certificate.valid_dns_names().map(name).collect())
}

/// A certificate, with those behind it, and its key; beside each stands where it is, as messages say it.
///
/// # Errors
/// Why they can't be used: see [`TlsError`].
pub(crate) fn certified(
    (certificates, certificate_of): (&[u8], &str),
    (key, key_of): (&[u8], &str),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = all(certificates, certificate_of)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey { setting: key_of.to_owned() })?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| TlsError::Rejected { settings: format!("{certificate_of} and {key_of}"), error })
}

/// All certificates in a text of PEM.
///
/// # Errors
/// `TlsError::NoCertificate` where there are none, or one can't be read.
pub(crate) fn all(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::NoCertificate { setting: setting.to_owned() }),
    }
}
