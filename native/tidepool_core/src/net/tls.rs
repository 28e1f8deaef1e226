//! TLS over TCP.
//!
//! The session is under a lock that is held for a try, never for a wait. Handshakes of accepted connections are done by who
//! first reads or writes, so that a peer that says nothing, or nonsense, holds up nobody else's.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{PemObject, SectionKind, SliceIter};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use tokio::io::Interest;

use super::access::Access;
use super::error::NetError;
use super::reactor::Registered;
use super::ready::{Ready, Wait};
use super::stream::{Stream, Timeouts, Tried, tried};
use super::tcp::{self, TcpListener, TcpStream};
use crate::base::grants::Protocol;
use crate::slice::yielding::yielded;

/// Plain bytes that are encrypted at once: a record.
const RECORD_BYTES: usize = 16 << 10;
/// Most reads of a try: what comes may be nothing that a guest gets.
const MOST_READS: usize = 16;
/// What a certificate takes beside its bytes: its place, and of one that is trusted its parts, which are pieces of their own.
const CERTIFICATE_BYTES: usize = 256;
/// What a listener answers by beside its certificates: its key above all.
const ANSWERING_BYTES: usize = 8 << 10;
/// Bytes of certificates that are read in one go, and no more than one section beyond.
const PIECE_BYTES: usize = 32 << 10;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// A socket that others connect to by TLS.
pub(crate) struct TlsListener {
    tcp: TcpListener,
    config: Arc<ServerConfig>,
    certificate_bytes: usize,
}

impl TlsListener {
    /// The socket, which waits for its certificates: who isn't granted it has none read.
    ///
    /// # Errors
    /// When it isn't granted, there are too many sockets, or the system says so.
    pub(crate) fn bind(access: &Access, address: SocketAddr) -> Result<TcpListener, NetError> {
        TcpListener::bind_for(access, Protocol::Tls, address)
    }

    /// Certificates and their key are PEM, those of the server's own first.
    ///
    /// # Errors
    /// When they can't be read, or the key is not the certificate's.
    pub(crate) async fn new(tcp: TcpListener, certs: &[u8], key: &[u8]) -> Result<Self, NetError> {
        let (config, certificate_bytes) = server_config(certs, key).await?;
        Ok(TlsListener { tcp, config: Arc::new(config), certificate_bytes })
    }

    /// What its certificates and their key take: those that nobody is shown, too.
    pub(crate) fn certificate_bytes(&self) -> usize {
        self.certificate_bytes
    }

    /// The same for clients that speak one of these.
    #[cfg(test)]
    pub(crate) fn speaking(mut self, protocols: &[&[u8]]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self
    }

    /// Waits for a connection. Many may wait at once.
    ///
    /// # Errors
    /// When there are too many sockets, or the system says so.
    pub(crate) async fn accept(&self) -> Result<(TlsStream, SocketAddr), NetError> {
        let (tcp, peer) = self.tcp.accept().await?;
        let session = ServerConnection::new(Arc::clone(&self.config))?;
        // It has the certificates until its handshake is over, whether or not the listener is there.
        Ok((TlsStream::new(tcp, Connection::Server(session), self.certificate_bytes), peer))
    }

    /// # Errors
    /// What the system says.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_address()
    }
}

impl Ready for TlsListener {
    fn try_ready(&self, interest: Interest) -> Tried<()> {
        self.tcp.try_ready(interest)
    }

    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait {
        Box::pin(async move { self.tcp.ready(interest).await })
    }
}

/// A connection by TLS.
pub(crate) struct TlsStream {
    tcp: TcpStream,
    session: Mutex<Connection>,
    certificate_bytes: usize,
}

impl TlsStream {
    fn new(tcp: TcpStream, session: Connection, certificate_bytes: usize) -> Self {
        TlsStream { tcp, session: Mutex::new(session), certificate_bytes }
    }

    /// What the certificates take that stay with the session: those of its listener, or by which it alone was checked who the host is.
    pub(crate) fn certificate_bytes(&self) -> usize {
        self.certificate_bytes
    }

    /// Connects to a host and checks that it is the one: by these certificates (PEM), or by the usual roots if there are none. What has
    /// to be granted is `granted`. The host is offered these protocols (RFC 7301), the one that is liked best first.
    ///
    /// # Errors
    /// When it isn't granted, there are too many sockets, nobody is there, it is another, or speaks none of them.
    pub(crate) async fn connect(
        access: &Access,
        granted: Protocol,
        (host, port): (&str, u16),
        certs: &[Vec<u8>],
        protocols: &[&[u8]],
    ) -> Result<Self, NetError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NetError::name(host))?;
        // Who isn't granted it has no certificate read.
        let tcp = TcpStream::connect_to(access, granted, host, port).await?;
        let (config, trusted_bytes) = client_config(certs, protocols).await?;
        let session = ClientConnection::new(config, name)?;
        let stream = Self::new(tcp, Connection::Client(session), trusted_bytes);
        loop {
            let tried = stream.shake_hands(&mut stream.session())?;
            match tried {
                Tried::Done(()) => return Ok(stream),
                Tried::Wait(interest) => stream.ready(interest).await?,
            }
        }
    }

    /// The protocol that both sides have agreed on.
    pub(crate) fn protocol(&self) -> Option<Vec<u8>> {
        self.session().alpn_protocol().map(<[u8]>::to_vec)
    }

    /// Goes on with the handshake.
    fn shake_hands(&self, session: &mut Connection) -> Result<Tried<()>, NetError> {
        loop {
            if !self.send(session)? {
                return Ok(Tried::Wait(Interest::WRITABLE));
            }
            if !session.is_handshaking() {
                return Ok(Tried::Done(()));
            }
            match self.receive(session)? {
                Tried::Done(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Tried::Done(_) => {}
                Tried::Wait(interest) => return Ok(Tried::Wait(interest)),
            }
        }
    }

    /// Passes on what is encrypted; `false` when there is no room for it.
    fn send(&self, session: &mut Connection) -> Result<bool, NetError> {
        while session.wants_write() {
            match tried(session.write_tls(&mut Socket(self.tcp.socket())), Interest::WRITABLE)? {
                Tried::Done(_) => {}
                Tried::Wait(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes what the peer has sent; 0 is the end.
    fn receive(&self, session: &mut Connection) -> Result<Tried<usize>, NetError> {
        let received = tried(session.read_tls(&mut Socket(self.tcp.socket())), Interest::READABLE)?;
        if matches!(received, Tried::Done(_))
            && let Err(error) = session.process_new_packets()
        {
            // The peer is told why, if it still listens.
            let _ = self.send(session);
            return Err(error.into());
        }
        Ok(received)
    }

    /// Whether there is something to read, or will be nothing any more.
    fn try_readable(&self, session: &mut Connection) -> Result<Tried<()>, NetError> {
        for _read in 0..MOST_READS {
            let state = session.process_new_packets()?;
            if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
                return Ok(Tried::Done(()));
            }
            let sent = self.send(session)?;
            match self.receive(session)? {
                Tried::Done(0) => return Ok(Tried::Done(())),
                Tried::Done(_) => {}
                Tried::Wait(interest) => {
                    return Ok(Tried::Wait(if sent { interest } else { interest | Interest::WRITABLE }));
                }
            }
        }
        Ok(Tried::Wait(Interest::READABLE))
    }

    fn session(&self) -> MutexGuard<'_, Connection> {
        // After a panic the session may say nonsense, which its peer notices.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for TlsStream {
    fn try_read(&self, bytes: &mut [u8]) -> Result<Tried<usize>, NetError> {
        let mut session = self.session();
        for _read in 0..MOST_READS {
            if let Tried::Done(count) = tried(session.reader().read(bytes), Interest::READABLE)? {
                return Ok(Tried::Done(count));
            }
            // Of a handshake, say; what a writer has left goes with its own next try.
            let sent = self.send(&mut session)?;
            if let Tried::Wait(interest) = self.receive(&mut session)? {
                return Ok(Tried::Wait(if sent { interest } else { interest | Interest::WRITABLE }));
            }
        }
        Ok(Tried::Wait(Interest::READABLE))
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> Result<Tried<usize>, NetError> {
        let mut session = self.session();
        if let Tried::Wait(interest) = self.shake_hands(&mut session)? {
            return Ok(Tried::Wait(interest));
        }
        let piece = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        let count = session.writer().write(piece.get(..RECORD_BYTES).unwrap_or(piece))?;
        Ok(Tried::Done(count))
    }

    fn try_flush(&self) -> Result<Tried<()>, NetError> {
        let mut session = self.session();
        if self.send(&mut session)? { Ok(Tried::Done(())) } else { Ok(Tried::Wait(Interest::WRITABLE)) }
    }

    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<()>> + Send {
        self.tcp.ready(interest)
    }

    fn timeouts(&self) -> &Timeouts {
        self.tcp.timeouts()
    }
}

impl Ready for TlsStream {
    fn try_ready(&self, interest: Interest) -> Tried<()> {
        let mut session = self.session();
        if interest.is_writable() {
            return self.shake_hands(&mut session).unwrap_or(Tried::Done(()));
        }
        self.try_readable(&mut session).unwrap_or(Tried::Done(()))
    }

    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait {
        Box::pin(async move { self.ready(interest).await })
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        let mut session = self.session();
        session.send_close_notify();
        // As far as there is room: nobody waits any more.
        let _ = self.send(&mut session);
    }
}

/// The socket as the session reads and writes it.
struct Socket<'a>(&'a Registered<std::net::TcpStream>);

impl Read for Socket<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        tcp::read(self.0, bytes)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        tcp::write(self.0, &[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        tcp::write(self.0, pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Those of a PEM, read in pieces; `bytes` were read since the slice began.
async fn certificates(pem: &[u8], bytes: &mut usize) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let (mut sections, mut certs) = (SliceIter::<(SectionKind, Vec<u8>)>::new(pem), Vec::new());
    let mut left = pem.len();
    while let Some(section) = sections.next() {
        let (kind, der) = section.map_err(|_error| NetError::NoPem { what: "certificate" })?;
        if kind == SectionKind::Certificate {
            certs.push(CertificateDer::from(der));
        }
        let now = sections.remainder().len();
        piece(bytes, left.saturating_sub(now)).await;
        left = now;
    }
    if certs.is_empty() { Err(NetError::NoPem { what: "certificate" }) } else { Ok(certs) }
}

/// Ends the slice when so much was read of certificates that it takes some 0.1 ms.
async fn piece(bytes: &mut usize, more: usize) {
    *bytes += more;
    if *bytes >= PIECE_BYTES {
        *bytes = 0;
        yielded().await;
    }
}

/// How to answer, and what that takes.
async fn server_config(certs: &[u8], key: &[u8]) -> Result<(ServerConfig, usize), NetError> {
    let certs = certificates(certs, &mut 0).await?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| NetError::NoPem { what: "private key" })?;
    let bytes = certs.iter().fold(ANSWERING_BYTES, |bytes, cert| bytes.saturating_add(takes(cert)));
    let config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(certs, key)?;
    // No session is gone on with: 256 would be kept, with the names that clients gave.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((config, bytes))
}

/// What a certificate takes.
fn takes(cert: &CertificateDer<'_>) -> usize {
    cert.len().saturating_add(CERTIFICATE_BYTES)
}

/// How to connect, and what the certificates take that are for this connection alone.
async fn client_config(certs: &[Vec<u8>], protocols: &[&[u8]]) -> Result<(Arc<ClientConfig>, usize), NetError> {
    static USUAL: LazyLock<Result<ClientConfig, rustls::Error>> =
        LazyLock::new(|| trusting(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()));
    // A copy has the roots, and the sessions that can be gone on with, in common with the other.
    let (mut config, trusted_bytes) = if certs.is_empty() {
        (USUAL.clone()?, 0)
    } else {
        let (roots, trusted_bytes) = read(certs).await?;
        let mut config = trusting(roots)?;
        // No other connection has these sessions in common, so none is gone on with. Eight would be kept, each with a ticket and a copy of the
        // server's certificates, which have 64 KiB if the server likes.
        config.resumption = Resumption::disabled();
        (config, trusted_bytes)
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok((Arc::new(config), trusted_bytes))
}

/// Certificates that are trusted, and what they take.
async fn read(certs: &[Vec<u8>]) -> Result<(RootCertStore, usize), NetError> {
    let (mut roots, mut bytes, mut trusted_bytes) = (RootCertStore::empty(), 0, 0_usize);
    for pem in certs {
        for cert in certificates(pem, &mut bytes).await? {
            piece(&mut bytes, cert.len()).await;
            trusted_bytes = trusted_bytes.saturating_add(takes(&cert));
            roots.add(cert)?;
        }
    }
    Ok((roots, trusted_bytes))
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    /// A certificate of `localhost`.
    const CERTIFICATE: &[u8] = include_bytes!("http/testdata/localhost.pem");
    const KEY: &[u8] = include_bytes!("http/testdata/localhost.key");

    #[test]
    fn what_a_listener_answers_by_is_counted_with_certificates_that_nobody_is_shown_and_no_sessions_are_kept() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let short = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".repeat(100);
        let certs = [CERTIFICATE, short.as_slice()].concat();
        let (config, bytes) = runtime.block_on(server_config(&certs, KEY)).unwrap();
        assert!(bytes > 101 * CERTIFICATE_BYTES, "{bytes}");
        assert!(!config.session_storage.can_cache() && config.send_tls13_tickets == 0);
    }

    #[test]
    fn what_is_kept_of_a_connection_that_brings_certificates_is_counted_and_no_tickets_are() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let der = runtime.block_on(certificates(CERTIFICATE, &mut 0)).unwrap();
        let der_bytes: usize = der.iter().map(|cert| cert.len()).sum();
        let certs = [CERTIFICATE.to_vec(), CERTIFICATE.to_vec()];
        let (config, trusted_bytes) = runtime.block_on(client_config(&certs, &[])).unwrap();
        assert!(der_bytes > 0 && trusted_bytes > 2 * der_bytes, "{trusted_bytes} of {der_bytes} twice");
        let kept = format!("{:?}", config.resumption);
        assert!(kept.contains("NoClientSessionStorage"), "{kept}");
        // Those with the usual roots have these, and sessions, in common.
        let (config, trusted_bytes) = runtime.block_on(client_config(&[], &[])).unwrap();
        assert_eq!(trusted_bytes, 0);
        let kept = format!("{:?}", config.resumption);
        assert!(!kept.contains("NoClientSessionStorage"), "{kept}");
    }
}
