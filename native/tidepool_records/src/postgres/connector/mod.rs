//! The way to the database.

mod tls;

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::tls::Wanted;
use super::failure::{late, said};
use crate::record::StoreError;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(3);
/// Who asks again while the database is away is told what was found before, until so long after it; longer each time.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What all sessions have. Plans go by the indexes that the tables have, whatever is known of their sizes. A session that a stopped
/// node left in the midst of a transaction ends, so that its locks hold nobody up.
const SESSION: &str = "
SET default_transaction_isolation = 'read committed';
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SET lock_timeout = '2s';
SET idle_in_transaction_session_timeout = '2s';
";

/// How connections are made, and since when they can't be.
pub(super) struct Connector {
    config: Config,
    encryption: Option<MakeRustlsConnect>,
    failing: Mutex<Option<Failing>>,
}

struct Failing {
    until: Instant,
    wait: Duration,
    why: StoreError,
}

impl Connector {
    /// A connector by a URL, or by `key=value` words.
    ///
    /// # Errors
    /// [`StoreError::Url`].
    pub(super) fn new(url: &str) -> Result<Self, StoreError> {
        let wanted = Wanted::of(url)?;
        let mut config = Config::from_str(&wanted.url)
            // The cause names the part that is wrong, and never what was there.
            .map_err(|error| StoreError::Url(format!("the URL of the database is none: {}", said(&error)).into()))?;
        // What is not verified is as good as in the clear, and says so.
        let encryption = if config.get_ssl_mode() == SslMode::Require { Some(wanted.encryption()?) } else { None };
        if config.get_application_name().is_none() {
            config.application_name("tidepool");
        }
        // A standby does not know what was written a moment ago.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        // A connection whose other end is gone is noticed.
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(Duration::from_secs(10));
        Ok(Connector { config, encryption, failing: Mutex::default() })
    }

    /// A new session, whose statements end after `statement_ms` if they are not to go on for ever (0).
    ///
    /// # Errors
    /// When the database is away, or was a moment ago.
    pub(super) async fn connect(&self, statement_ms: u32) -> Result<Client, StoreError> {
        if let Some(failing) = &*self.failing()
            && Instant::now() < failing.until
        {
            return Err(failing.why.clone());
        }
        let connected = tokio::time::timeout(CONNECT, self.session(statement_ms)).await;
        let outcome = connected.unwrap_or_else(|_late| Err(late(CONNECT)));
        let mut failing = self.failing();
        *failing = match (&outcome, failing.as_ref()) {
            (Ok(_client), _) => None,
            (Err(why), before) => {
                let wait = before.map_or(SHORTEST_WAIT, |before| LONGEST_WAIT.min(before.wait * 2));
                Some(Failing { until: Instant::now() + wait, wait, why: why.clone() })
            }
        };
        outcome
    }

    async fn session(&self, statement_ms: u32) -> Result<Client, StoreError> {
        // A connection ends with its client, or by itself; who waits for an answer is told then.
        let client = match &self.encryption {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(async move { drop(connection.await) });
                client
            }
            Some(encryption) => {
                let (client, connection) = self.config.connect(encryption.clone()).await?;
                tokio::spawn(async move { drop(connection.await) });
                client
            }
        };
        client.batch_execute(&format!("{SESSION} SET statement_timeout = {statement_ms};")).await?;
        Ok(client)
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, Option<Failing>> {
        // Nothing that can panic runs under the lock.
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
