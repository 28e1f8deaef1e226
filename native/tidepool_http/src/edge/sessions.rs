//! Secrets that stand for the token for a while, so that browsers need not keep it: codes of links, and sessions.
//!
//! They are kept as hashes, and found by them, so the time that a look-up takes tells nothing of a secret.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As many as there are at most. One more takes the place of the one that was not used for longest.
const MOST: usize = 1_000;

type Hash = [u8; 32];

/// What a secret is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As a bearer token, for one request within this time.
    Code(Duration),
    /// As the value of a cookie, for requests of the server's own pages.
    Session {
        /// How old it may become.
        lifetime: Duration,
        /// How long it may be unused.
        idle: Duration,
    },
}

/// A secret that was let in.
struct Held {
    pass: Pass,
    since: Instant,
    used: Instant,
}

impl Held {
    fn is_over(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        match self.pass {
            Pass::Code(lifetime) => age >= lifetime,
            Pass::Session { lifetime, idle } => age >= lifetime || now.saturating_duration_since(self.used) >= idle,
        }
    }
}

/// The secrets that stand for the token now.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Hash, Held>>);

impl Sessions {
    /// Lets a secret stand for the token.
    pub(crate) fn admit(&self, secret: &[u8], pass: Pass, now: Instant) {
        let mut held = self.lock();
        held.retain(|_, held| !held.is_over(now));
        if held.len() >= MOST
            && let Some(oldest) = held.iter().min_by_key(|(_, held)| held.used).map(|(hash, _)| *hash)
        {
            held.remove(&oldest);
        }
        held.insert(hash(secret), Held { pass, since: now, used: now });
    }

    /// Ends a code or a session; nothing, if there is none of that secret.
    pub(crate) fn dismiss(&self, secret: &[u8]) {
        self.lock().remove(&hash(secret));
    }

    /// Whether this is a code that nobody has used, which is used up now.
    pub(crate) fn redeem(&self, code: &[u8], now: Instant) -> bool {
        let mut held = self.lock();
        let hash = hash(code);
        if !held.get(&hash).is_some_and(|held| matches!(held.pass, Pass::Code(_))) {
            return false;
        }
        held.remove(&hash).is_some_and(|held| !held.is_over(now))
    }

    /// Whether this is a session, which is used now.
    pub(crate) fn is_open(&self, id: &[u8], now: Instant) -> bool {
        let mut held = self.lock();
        let Some(session) = held.get_mut(&hash(id)) else { return false };
        let open = matches!(session.pass, Pass::Session { .. }) && !session.is_over(now);
        if open {
            session.used = now;
        }
        open
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Sessions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

fn hash(secret: &[u8]) -> Hash {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);
    const SESSION: Pass = Pass::Session { lifetime: Duration::from_secs(12 * 3_600), idle: HOUR };

    fn after(start: Instant, time: Duration) -> Instant {
        start.checked_add(time).unwrap_or(start)
    }

    #[test]
    fn a_code_is_good_once_and_for_its_time_alone() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        sessions.admit(b"used", Pass::Code(MINUTE), start);
        sessions.admit(b"late", Pass::Code(MINUTE), start);
        assert!(!sessions.is_open(b"used", start), "a code is no session");
        assert!(sessions.redeem(b"used", start));
        assert!(!sessions.redeem(b"used", start));
        assert!(!sessions.redeem(b"late", after(start, MINUTE)));
        assert!(!sessions.redeem(b"never", start));
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_no_longer_than_it_may() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        sessions.admit(b"used", SESSION, start);
        sessions.admit(b"idle", SESSION, start);
        assert!(!sessions.redeem(b"used", start), "a session is no bearer token");
        let mut now = start;
        for _ in 0..12 {
            assert!(sessions.is_open(b"used", now));
            now = after(now, HOUR - MINUTE);
        }
        assert!(!sessions.is_open(b"idle", after(start, HOUR)));
        assert!(!sessions.is_open(b"used", after(start, 12 * HOUR)));
    }

    #[test]
    fn a_session_that_was_dismissed_is_over() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        sessions.admit(b"a", SESSION, now);
        sessions.admit(b"b", SESSION, now);
        sessions.dismiss(b"a");
        assert!(!sessions.is_open(b"a", now));
        assert!(sessions.is_open(b"b", now));
    }

    #[test]
    fn of_too_many_the_one_goes_that_was_not_used_for_longest() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        for number in 0..MOST {
            let then = after(start, Duration::from_millis(number as u64));
            sessions.admit(number.to_string().as_bytes(), SESSION, then);
        }
        let now = after(start, MINUTE);
        assert!(sessions.is_open(b"0", now));
        sessions.admit(b"more", SESSION, now);
        assert!(!sessions.is_open(b"1", now));
        assert!(sessions.is_open(b"0", now) && sessions.is_open(b"2", now) && sessions.is_open(b"more", now));
    }
}
