//! Keys that sign modules: Ed25519 (RFC 8032), in files as openssl has them (PKCS#8 in PEM).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// The longest file that is taken for a key.
const FILE_BYTES: u64 = 4_096;
/// The bytes of a private key.
const SEED_BYTES: usize = 32;
/// What is before the private key in PKCS#8: a version, the algorithm, and that 34 bytes follow, of which 32 are the key (RFC 8410, 7).
const PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file can't be read.
    #[error("the key can't be read from {path}: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can't be made; one that is there is never written over.
    #[error("the key can't be written to {path}: {source}")]
    Unwritable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no private key of that kind, or one with a password.
    #[error("{path} is no private key of Ed25519 in PEM without a password: tidepool keygen makes one")]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a key")]
    NoRandomness,
}

/// A private key. It does not show in messages.
pub(crate) struct PrivateKey(Ed25519KeyPair);

impl PrivateKey {
    /// Makes one, in a new file that its user alone may read.
    ///
    /// # Errors
    ///
    /// When the file is there, or can't be written.
    pub(crate) fn generate(path: &Path) -> Result<Self, KeyError> {
        let mut seed = [0; SEED_BYTES];
        SystemRandom::new().fill(&mut seed).map_err(|_unspecified| KeyError::NoRandomness)?;
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_rejected| KeyError::NoRandomness)?;
        let der = BASE64_STANDARD.encode([PREFIX.as_slice(), &seed].concat());
        let failed = |source| KeyError::Unwritable { path: path.to_owned(), source };
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(format!("{BEGIN}\n{der}\n{END}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(Self(key))
    }

    /// Reads one from a file.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or has no such key.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Unreadable { path: path.to_owned(), source };
        let none = || KeyError::NoKey { path: path.to_owned() };
        let size = fs::metadata(path).map_err(failed)?;
        if !size.is_file() || size.len() > FILE_BYTES {
            return Err(none());
        }
        let text = String::from_utf8(fs::read(path).map_err(failed)?).map_err(|_not_text| none())?;
        let (_before, rest) = text.split_once(BEGIN).ok_or_else(none)?;
        let (body, _after) = rest.split_once(END).ok_or_else(none)?;
        let body: String = body.split_whitespace().collect();
        let der = BASE64_STANDARD.decode(body).map_err(|_not_base64| none())?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self).map_err(|_rejected| none())
    }

    /// The public key, as a node has it in its setting `deploy_keys`.
    pub(crate) fn public(&self) -> String {
        BASE64_STANDARD.encode(self.0.public_key())
    }

    /// The signature of a module, as the field `signature` of its deploy.
    pub(crate) fn sign(&self, module: &[u8]) -> String {
        BASE64_STANDARD.encode(self.0.sign(module))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PrivateKey")
    }
}
