//! Sessions for who reads, and for who asks of leases.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connector::Connector;
use super::session::Session;
use crate::lease::{Owner, Watch};
use crate::record::StoreError;

/// Sessions that are kept for who comes next.
const KEPT: usize = 8;

/// The sessions of one node.
pub(super) struct Pool {
    connector: Arc<Connector>,
    owner: Arc<Owner>,
    kept: Mutex<Vec<Session>>,
    /// Whether this start of the node has had a lease.
    pub(super) known: AtomicBool,
    watch: Mutex<Watch>,
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>, owner: Arc<Owner>) -> Self {
        Pool { connector, owner, kept: Mutex::default(), known: AtomicBool::new(false), watch: Mutex::default() }
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What this node has seen of leases.
    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        // Nothing that can panic runs under the lock.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, once more if the session turns out to have been lost before.
    pub(super) async fn reading<T>(
        &self,
        read: impl AsyncFn(&Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(session) = self.kept() {
            match read(&session).await {
                Err(StoreError::Away(_)) => {}
                found => return self.done(session, found),
            }
        }
        let session = self.session().await?;
        let found = read(&session).await;
        self.done(session, found)
    }

    /// A session that is not lost, as far as is known.
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        match self.kept() {
            Some(session) => Ok(session),
            None => Session::new(&self.connector).await,
        }
    }

    /// Keeps a session for who comes next. One that has met an error is not used again.
    pub(super) fn done<T>(&self, session: Session, found: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut kept = self.sessions();
        if found.is_ok() && kept.len() < KEPT {
            kept.push(session);
        }
        found
    }

    /// Forgets all sessions that are kept: where one got no answer, the others may get none either.
    pub(super) fn clear(&self) {
        self.sessions().clear();
    }

    fn kept(&self) -> Option<Session> {
        let mut kept = self.sessions();
        kept.retain(|session| !session.client.is_closed());
        kept.pop()
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        // Nothing that can panic runs under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
