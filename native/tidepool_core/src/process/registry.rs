//! Names of processes: one map for each program. A name dies with its process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use foldhash::fast::RandomState;

use super::bounds::account::{Account, Share};

/// Most names of a program.
const MAX_NAMES: usize = 100_000;
/// What a name takes beside its text.
const NAME_BYTES: usize = 128;
/// The same where it is found by its process, too.
const OWNED_NAME_BYTES: usize = 192;

/// Who has a name.
enum Entry {
    Process(u64),
    /// A process is being made that will have it, by the claim of this number; these wait for that, by their places.
    /// Each is a process, which counts in the account with more than its waker takes.
    Making(u64, BTreeMap<u64, Waker>),
}

impl Entry {
    /// The process that has the name.
    fn owner(&self) -> Option<u64> {
        match self {
            Entry::Process(id) => Some(*id),
            Entry::Making(..) => None,
        }
    }
}

/// The names of a program.
pub(crate) struct Registry(Mutex<Names>);

#[derive(Default)]
pub(super) struct Names {
    entries: HashMap<Arc<str>, Entry, RandomState>,
    /// The names by their processes, where these may be told to be dead.
    owned: Option<BTreeSet<(u64, Arc<str>)>>,
    share: Share,
    bytes: usize,
    /// Claims that were granted, and places of those who have waited, so far.
    claims: u64,
    places: u64,
    /// There will be none any more.
    closed: bool,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What each takes beside its text.
    fn each(&self) -> usize {
        if self.owned.is_some() { OWNED_NAME_BYTES } else { NAME_BYTES }
    }

    /// Is there room for one more name, if this is a new one? Then it is counted.
    fn makes_room(&mut self, name: &str) -> bool {
        if self.entries.contains_key(name) {
            return true;
        }
        let all = self.bytes + name.len() + self.each();
        let fits = !self.closed && self.entries.len() < MAX_NAMES && self.share.hold(all);
        if fits {
            self.bytes = all;
        }
        fits
    }

    /// Gives it to this one, and returns who had it. There is room for it.
    fn set(&mut self, name: &str, entry: Entry) -> Option<Entry> {
        let known = self.entries.get_key_value(name).map(|(known, _entry)| Arc::clone(known));
        let name = known.unwrap_or_else(|| Arc::from(name));
        let owner = entry.owner();
        let before = self.entries.insert(Arc::clone(&name), entry);
        if let Some(owned) = &mut self.owned {
            if let Some(id) = before.as_ref().and_then(Entry::owner) {
                owned.remove(&(id, Arc::clone(&name)));
            }
            if let Some(id) = owner {
                owned.insert((id, name));
            }
        }
        before
    }

    fn remove(&mut self, name: &str) -> Option<Entry> {
        let (name, entry) = self.entries.remove_entry(name)?;
        self.bytes -= name.len() + self.each();
        self.share.keep(self.bytes);
        if let (Some(owned), Some(id)) = (&mut self.owned, entry.owner()) {
            owned.remove(&(id, name));
        }
        Some(entry)
    }

    /// A name of this process, where names are found by their processes.
    fn of(&self, id: u64) -> Option<Arc<str>> {
        let first = (id, Arc::<str>::from(""));
        let (owner, name) = self.owned.as_ref()?.range(first..).next()?;
        (*owner == id).then(|| Arc::clone(name))
    }
}

/// What comes of asking for a name in order to make a process that has it.
pub(crate) enum Claim {
    /// It is the asker's, who has to [`Registry::resolve`] it by this number.
    Granted(u64),
    /// A process has it.
    Taken(u64),
    /// A process is being made that will have it: ask again when woken.
    Wait,
    /// There are too many names, or too long ones.
    Full,
}

/// One that asks for a name, to make a process that has it. When it ends while it waits, it leaves nothing behind.
pub(crate) struct Claiming<'a> {
    names: &'a Registry,
    name: &'a str,
    /// The number of its place, once it has waited.
    place: Option<u64>,
}

impl Claiming<'_> {
    /// Waits for as long as a process is being made that will have the name.
    pub(crate) fn poll(&mut self, lives: impl Fn(u64) -> bool, cx: &Context<'_>) -> Poll<Claim> {
        match self.names.claim(self.name, lives, &mut self.place, cx.waker()) {
            Claim::Wait => Poll::Pending,
            claim => Poll::Ready(claim),
        }
    }
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.names.leave(self.name, place);
        }
    }
}

impl Registry {
    pub(super) fn new(account: &Arc<Account>) -> Self {
        let share = Share::new(account, 0);
        Registry(Mutex::new(Names { share, ..Names::default() }))
    }

    /// One whose names are found by their processes, so that those of one that has died can be forgotten without a look at all others.
    pub(super) fn by_owner(account: &Arc<Account>) -> Self {
        let share = Share::new(account, 0);
        Registry(Mutex::new(Names { share, owned: Some(BTreeSet::new()), ..Names::default() }))
    }

    /// Gives a process the name, whoever has it; `false` when there are too many names, or too long ones.
    pub(crate) fn put(&self, name: &str, id: u64) -> bool {
        let mut names = self.names();
        if !names.makes_room(name) {
            return false;
        }
        let before = names.set(name, Entry::Process(id));
        drop(names);
        wake(before);
        true
    }

    /// The process that has the name, if it `lives`.
    pub(crate) fn get(&self, name: &str, lives: impl Fn(u64) -> bool) -> Option<u64> {
        let mut names = self.names();
        match names.entries.get(name)? {
            Entry::Process(id) if lives(*id) => Some(*id),
            Entry::Process(_) => {
                names.remove(name);
                None
            }
            Entry::Making(..) => None,
        }
    }

    /// Gives a process the name, unless another has it that `lives`. There is nothing to resolve.
    pub(crate) fn put_if_free(&self, name: &str, id: u64, lives: impl Fn(u64) -> bool) -> Claim {
        let mut names = self.names();
        match names.entries.get(name) {
            Some(Entry::Process(owner)) if *owner != id && lives(*owner) => return Claim::Taken(*owner),
            Some(Entry::Making(..)) => return Claim::Wait,
            Some(Entry::Process(_)) | None => {}
        }
        if !names.makes_room(name) {
            return Claim::Full;
        }
        names.set(name, Entry::Process(id));
        Claim::Granted(0)
    }

    /// Takes the name from this process, if it has it.
    pub(crate) fn remove_of(&self, name: &str, id: u64) {
        let mut names = self.names();
        if matches!(names.entries.get(name), Some(Entry::Process(owner)) if *owner == id) {
            names.remove(name);
        }
    }

    /// Takes the name from whoever has it.
    pub(crate) fn remove(&self, name: &str) {
        let before = self.names().remove(name);
        wake(before);
    }

    /// Claims a name for a process that is to be made.
    pub(crate) fn claiming<'a>(&'a self, name: &'a str) -> Claiming<'a> {
        Claiming { names: self, name, place: None }
    }

    /// Claims it, or waits for who has claimed it: at the place that it has, or behind all others.
    pub(super) fn claim(
        &self,
        name: &str,
        lives: impl Fn(u64) -> bool,
        place: &mut Option<u64>,
        waker: &Waker,
    ) -> Claim {
        let mut guard = self.names();
        let names = &mut *guard;
        match names.entries.get_mut(name) {
            Some(Entry::Process(id)) if lives(*id) => return Claim::Taken(*id),
            Some(Entry::Making(_, waiting)) => {
                let number = *place.get_or_insert_with(|| {
                    names.places += 1;
                    names.places
                });
                let before = waiting.insert(number, waker.clone());
                drop(guard);
                // Without the lock: with a waker its task may be dropped, which may wait as well.
                drop(before);
                return Claim::Wait;
            }
            Some(Entry::Process(_)) | None => {}
        }
        if !names.makes_room(name) {
            return Claim::Full;
        }
        names.claims += 1;
        let claim = names.claims;
        names.set(name, Entry::Making(claim, BTreeMap::new()));
        Claim::Granted(claim)
    }

    /// Who has this place waits no more.
    fn leave(&self, name: &str, place: u64) {
        let waker = match self.names().entries.get_mut(name) {
            Some(Entry::Making(_, waiting)) => waiting.remove(&place),
            Some(Entry::Process(_)) | None => None,
        };
        // Without the lock, as above.
        drop(waker);
    }

    /// Resolves a claim: says who has the name, or that nobody does.
    pub(crate) fn resolve(&self, name: &str, claim: u64, id: Option<u64>) {
        let mut names = self.names();
        // Somebody may have put another process there, or removed it, and another may have claimed it since.
        if !matches!(names.entries.get(name), Some(Entry::Making(number, _)) if *number == claim) {
            return;
        }
        let before = match id {
            Some(id) => names.set(name, Entry::Process(id)),
            None => names.remove(name),
        };
        drop(names);
        wake(before);
    }

    /// Forgets the names of processes that don't live.
    pub(crate) fn forget_dead(&self, lives: impl Fn(u64) -> bool) {
        let mut guard = self.names();
        let names = &mut *guard;
        let (each, owned) = (names.each(), &mut names.owned);
        names.entries.retain(|name, entry| {
            let Some(dead) = entry.owner().filter(|id| !lives(*id)) else { return true };
            if let Some(owned) = owned.as_mut() {
                owned.remove(&(dead, Arc::clone(name)));
            }
            false
        });
        names.bytes = names.entries.keys().map(|name| name.len() + each).sum();
        names.share.keep(names.bytes);
    }

    /// Forgets names of this process, `most` of them, where they are found by it; whether it has none any more.
    pub(crate) fn forget(&self, id: u64, most: usize) -> bool {
        let mut names = self.names();
        for _name in 0..most {
            let Some(name) = names.of(id) else { return true };
            names.remove(&name);
        }
        names.of(id).is_none()
    }

    /// All of them, of a program that is gone: none is given from now on.
    pub(super) fn close(&self) -> Names {
        std::mem::replace(&mut *self.names(), Names { closed: true, ..Names::default() })
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(entry: Option<Entry>) {
    if let Some(Entry::Making(_, waiting)) = entry {
        waiting.into_values().for_each(Waker::wake);
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
