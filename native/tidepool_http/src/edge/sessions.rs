//! Secrets that stand for a token for a while, so that browsers need not keep it: codes of links, and sessions.
//!
//! A session has two halves. A browser sends the first one, a cookie, to every port of its host, so others there may have seen
//! it; the second one is known to the server's own pages alone, which send it as a header.
//!
//! Secrets are kept as hashes, and found by them, so the time that a look-up takes tells nothing of a secret.

use crate::backend::token::Hash;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As many sessions as a token has at most, and as many codes as there are. One more takes the place of the one that was not
/// used for longest, so nobody signs others out by signing in.
const MOST: usize = 100;

/// What a secret is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// As a bearer token, for one request.
    Code,
    /// As the value of a cookie.
    Session {
        /// The SHA-256 of the other half.
        key: Hash,
        /// Whose it is: the hash of a token that was made here, or the server's own.
        of: Option<Hash>,
        /// How long its user may do nothing.
        idle: Duration,
    },
}

impl Pass {
    /// Whether the two take places from each other.
    fn is_beside(self, other: Self) -> bool {
        match (self, other) {
            (Self::Code, Self::Code) => true,
            (Self::Session { of, .. }, Self::Session { of: others, .. }) => of == others,
            _ => false,
        }
    }
}

/// A secret that was let in.
#[derive(Clone, Copy)]
struct Held {
    pass: Pass,
    lifetime: Duration,
    since: Instant,
    used: Instant,
}

impl Held {
    fn is_over(&self, now: Instant) -> bool {
        let idles = |idle| now.saturating_duration_since(self.used) >= idle;
        now.saturating_duration_since(self.since) >= self.lifetime
            || matches!(self.pass, Pass::Session { idle, .. } if idles(idle))
    }
}

/// What there is of the sessions whose first half a request has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// None.
    Unknown,
    /// One, without its second half.
    Unproved,
    /// One, by both: the server's own token's, or that of the token with this hash.
    Open(Option<Hash>),
}

/// The secrets that stand for tokens now. What is hashed is so before the lock is taken, which is that of all sessions: who has none may
/// send as many secrets as a head has room for, or a very long one.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Hash, Held>>);

impl Sessions {
    /// Lets a code stand for the server's token, once within its lifetime.
    pub(crate) fn admit_code(&self, code: &[u8], lifetime: Duration, now: Instant) {
        self.admit(code, Held { pass: Pass::Code, lifetime, since: now, used: now });
    }

    /// Lets the two halves of a session stand for a token.
    pub(crate) fn admit_session(&self, (id, key): (&[u8], &[u8]), of: Option<Hash>, terms: Terms, now: Instant) {
        let pass = Pass::Session { key: hash(key), of, idle: terms.idle };
        self.admit(id, Held { pass, lifetime: terms.lifetime, since: now, used: now });
    }

    fn admit(&self, secret: &[u8], one: Held) {
        let secret = hash(secret);
        let mut held = self.lock();
        held.retain(|_, held| !held.is_over(one.since));
        let beside = || held.iter().filter(|(_, other)| other.pass.is_beside(one.pass));
        if beside().count() >= MOST
            && let Some(oldest) = beside().min_by_key(|(_, held)| held.used).map(|(hash, _)| *hash)
        {
            held.remove(&oldest);
        }
        held.insert(secret, one);
    }

    /// Ends a session, by both of its halves; nothing, if there is none: who has seen a cookie signs nobody out.
    pub(crate) fn dismiss(&self, id: &[u8], key: &[u8]) {
        let (id, given) = (hash(id), hash(key));
        let mut held = self.lock();
        if held.get(&id).is_some_and(|held| matches!(held.pass, Pass::Session { key, .. } if key == given)) {
            held.remove(&id);
        }
    }

    /// Ends the sessions of tokens that are none any more.
    pub(crate) fn keep(&self, is_token: impl Fn(&Hash) -> bool) {
        self.lock().retain(|_, held| !matches!(&held.pass, Pass::Session { of: Some(of), .. } if !is_token(of)));
    }

    /// Whether this is a code that nobody has used, which is used up now.
    pub(crate) fn redeem(&self, code: &[u8], now: Instant) -> bool {
        let hash = hash(code);
        let mut held = self.lock();
        if !held.get(&hash).is_some_and(|held| held.pass == Pass::Code) {
            return false;
        }
        held.remove(&hash).is_some_and(|held| !held.is_over(now))
    }

    /// The first session that one of these is the first half of, and `key` the second. `by_user`: its user has done something,
    /// and it was not just its page that asked.
    pub(crate) fn find<'a>(
        &self,
        ids: impl Iterator<Item = &'a [u8]>,
        key: Option<&[u8]>,
        by_user: bool,
        now: Instant,
    ) -> Session {
        let (given, ids) = (key.map(hash), ids.map(hash).collect::<Vec<_>>());
        let mut found = Session::Unknown;
        if ids.is_empty() {
            return found;
        }
        let mut held = self.lock();
        for id in ids {
            let Some(session) = held.get_mut(&id) else { continue };
            let Pass::Session { key, of, .. } = session.pass else { continue };
            if session.is_over(now) {
                continue;
            }
            if given != Some(key) {
                found = Session::Unproved;
                continue;
            }
            if by_user {
                session.used = now;
            }
            return Session::Open(of);
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a session lasts.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How old it may become.
    pub lifetime: Duration,
    /// How long its user may do nothing.
    pub idle: Duration,
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
    const TERMS: Terms = Terms { lifetime: Duration::from_secs(12 * 3_600), idle: HOUR };

    fn after(start: Instant, time: Duration) -> Instant {
        start.checked_add(time).unwrap_or(start)
    }

    fn admit(sessions: &Sessions, id: &str, of: Option<Hash>, now: Instant) {
        sessions.admit_session((id.as_bytes(), b"key"), of, TERMS, now);
    }

    fn find(sessions: &Sessions, id: &str, by_user: bool, now: Instant) -> Session {
        sessions.find([id.as_bytes()].into_iter(), Some(b"key"), by_user, now)
    }

    fn is_open(sessions: &Sessions, id: &str, now: Instant) -> bool {
        matches!(find(sessions, id, true, now), Session::Open(_))
    }

    #[test]
    fn a_code_is_good_once_and_for_its_time_alone() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        sessions.admit_code(b"used", MINUTE, start);
        sessions.admit_code(b"late", MINUTE, start);
        assert!(!is_open(&sessions, "used", start), "a code is no session");
        assert!(sessions.redeem(b"used", start));
        assert!(!sessions.redeem(b"used", start));
        assert!(!sessions.redeem(b"late", after(start, MINUTE)));
        assert!(!sessions.redeem(b"never", start));
    }

    #[test]
    fn a_session_is_open_by_both_of_its_halves_and_by_no_other_sessions_second_one() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        sessions.admit_session((b"a", b"key of a"), None, TERMS, now);
        sessions.admit_session((b"b", b"key of b"), Some([1; 32]), TERMS, now);
        let find = |ids: &[&str], key| sessions.find(ids.iter().map(|id| id.as_bytes()), key, true, now);
        assert_eq!(find(&["a"], Some(b"key of a")), Session::Open(None));
        assert_eq!(find(&["b"], Some(b"key of b")), Session::Open(Some([1; 32])));
        assert_eq!(find(&["x", "a", "b"], Some(b"key of b")), Session::Open(Some([1; 32])));
        for key in [Some(b"key of b".as_slice()), Some(b"a"), Some(b"1"), Some(b""), None] {
            assert_eq!(find(&["a"], key), Session::Unproved);
        }
        assert_eq!(find(&["key of a"], Some(b"a")), Session::Unknown);
        assert_eq!(find(&[], Some(b"key of a")), Session::Unknown);
    }

    #[test]
    fn however_many_cookies_a_request_has_nobody_waits_while_they_are_hashed() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        admit(&sessions, "a", None, now);
        let mut looks = 0;
        let cookies = (0..1_000).map(|number| {
            looks += 1;
            assert!(sessions.0.try_lock().is_ok(), "{number}");
            if number == 999 { b"a".as_slice() } else { b"another's" }
        });
        assert_eq!(sessions.find(cookies, Some(b"key"), true, now), Session::Open(None));
        assert_eq!(looks, 1_000);
    }

    #[test]
    fn a_session_lasts_while_its_user_does_something_and_no_longer_than_it_may() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        for id in ["used", "idle", "left open"] {
            admit(&sessions, id, None, start);
        }
        assert!(!sessions.redeem(b"used", start), "a session is no bearer token");
        let mut now = start;
        for _ in 0..12 {
            assert!(is_open(&sessions, "used", now));
            now = after(now, HOUR - MINUTE);
        }
        assert!(!is_open(&sessions, "idle", after(start, HOUR)));
        assert!(!is_open(&sessions, "used", after(start, 12 * HOUR)));
        // A page that nobody looks at asks each minute.
        for minute in 0..60 {
            let open = find(&sessions, "left open", false, after(start, minute * MINUTE));
            assert_eq!(open, Session::Open(None), "{minute}");
        }
        assert_eq!(find(&sessions, "left open", false, after(start, HOUR)), Session::Unknown);
    }

    #[test]
    fn a_session_that_was_dismissed_is_over_and_so_are_those_of_tokens_that_are_gone() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for (id, of) in [("a", None), ("b", None), ("c", Some([1; 32])), ("d", Some([2; 32]))] {
            admit(&sessions, id, of, now);
        }
        sessions.dismiss(b"a", b"key");
        sessions.dismiss(b"b", b"another's key");
        sessions.keep(|hash| *hash == [2; 32]);
        assert_eq!(["a", "b", "c", "d"].map(|id| is_open(&sessions, id, now)), [false, true, false, true]);
    }

    #[test]
    fn of_too_many_the_one_goes_that_was_not_used_for_longest_and_none_of_another_token() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        admit(&sessions, "another's", Some([1; 32]), start);
        for number in 0..MOST {
            let then = after(start, Duration::from_millis(number as u64));
            admit(&sessions, &number.to_string(), None, then);
        }
        let now = after(start, MINUTE);
        assert!(is_open(&sessions, "0", now));
        admit(&sessions, "more", None, now);
        assert!(!is_open(&sessions, "1", now));
        for id in ["0", "2", "more", "another's"] {
            assert!(is_open(&sessions, id, now), "{id}");
        }
    }
}
