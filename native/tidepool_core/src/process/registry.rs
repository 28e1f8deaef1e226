//! Names of processes: one map for each program. A name dies with its process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use foldhash::fast::RandomState;

use super::bounds::account::{Account, Share};

/// Most names of a program.
const MAX_NAMES: usize = 100_000;
/// What a name takes beside its text.
const NAME_BYTES: usize = 128;

/// Who has a name.
enum Entry {
    Process(u64),
    /// A process is being made that will have it, by the claim of this number; these wait for that, by their places.
    /// Each is a process, which counts in the account with more than its waker takes.
    Making(u64, BTreeMap<u64, Waker>),
}

/// The names of a program.
pub(crate) struct Registry(Mutex<Names>);

#[derive(Default)]
pub(super) struct Names {
    entries: HashMap<String, Entry, RandomState>,
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

    /// Is there room for one more name, if this is a new one? Then it is counted.
    fn makes_room(&mut self, name: &str) -> bool {
        if self.entries.contains_key(name) {
            return true;
        }
        let all = self.bytes + name.len() + NAME_BYTES;
        let fits = !self.closed && self.entries.len() < MAX_NAMES && self.share.hold(all);
        if fits {
            self.bytes = all;
        }
        fits
    }

    fn remove(&mut self, name: &str) -> Option<Entry> {
        let entry = self.entries.remove(name)?;
        self.bytes -= name.len() + NAME_BYTES;
        self.share.keep(self.bytes);
        Some(entry)
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

    /// Gives a process the name, whoever has it; `false` when there are too many names, or too long ones.
    pub(crate) fn put(&self, name: &str, id: u64) -> bool {
        let mut names = self.names();
        if !names.makes_room(name) {
            return false;
        }
        let before = names.entries.insert(name.to_owned(), Entry::Process(id));
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
        names.entries.insert(name.to_owned(), Entry::Process(id));
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
        names.entries.insert(name.to_owned(), Entry::Making(claim, BTreeMap::new()));
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
            Some(id) => names.entries.insert(name.to_owned(), Entry::Process(id)),
            None => names.remove(name),
        };
        drop(names);
        wake(before);
    }

    /// Forgets the names of processes that don't live.
    pub(crate) fn forget_dead(&self, lives: impl Fn(u64) -> bool) {
        let mut names = self.names();
        names.entries.retain(|_name, entry| match entry {
            Entry::Process(id) => lives(*id),
            Entry::Making(..) => true,
        });
        names.bytes = names.entries.keys().map(|name| name.len() + NAME_BYTES).sum();
        let bytes = names.bytes;
        names.share.keep(bytes);
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
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::task::Wake;

    use super::*;

    /// Notes its number when it is woken.
    struct Told(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    /// Looks as one that is told by this waker; is it to wait?
    fn waits(claiming: &mut Claiming<'_>, told: &Arc<Told>) -> bool {
        claiming.poll(|_| true, &Context::from_waker(&Arc::clone(told).into())).is_pending()
    }

    #[test]
    fn one_of_many_who_claim_a_name_gets_it_and_the_others_its_process() {
        let names = Registry::new(&Account::new(usize::MAX, None));
        let claim = |lives: bool| names.claim("a", move |_| lives, &mut None, Waker::noop());
        assert!(matches!(claim(true), Claim::Granted(1)));
        assert!(matches!(claim(true), Claim::Wait));
        assert_eq!(names.get("a", |_| true), None, "there is no process yet");
        names.resolve("a", 1, Some(7));
        assert!(matches!(claim(true), Claim::Taken(7)));
        assert!(matches!(claim(false), Claim::Granted(2)), "that one is dead");
        names.resolve("a", 2, None);
        assert!(matches!(claim(true), Claim::Granted(3)), "it could not be made");
    }

    #[test]
    fn however_many_wait_for_a_name_each_is_told_once_that_it_was_resolved_in_the_order_in_which_they_came() {
        let names = Registry::new(&Account::new(usize::MAX, None));
        let order = Arc::<Mutex<Vec<usize>>>::default();
        assert!(matches!(names.claim("a", |_| true, &mut None, Waker::noop()), Claim::Granted(1)));
        let mut all: Vec<_> =
            (0..10_000).map(|number| (names.claiming("a"), Arc::new(Told(number, Arc::clone(&order))))).collect();
        // Who looks again is one still, and where it was.
        for _look in 0..2 {
            assert!(all.iter_mut().all(|(claiming, told)| waits(claiming, told)));
        }
        names.resolve("a", 1, Some(7));
        assert!(order.lock().unwrap().iter().copied().eq(0..10_000));
        let cx = Context::from_waker(Waker::noop());
        for (claiming, _told) in &mut all {
            assert!(matches!(claiming.poll(|_| true, &cx), Poll::Ready(Claim::Taken(7))));
        }
    }

    #[test]
    fn who_waits_for_a_name_and_is_gone_leaves_nothing_behind_and_the_others_are_told() {
        let names = Registry::new(&Account::new(usize::MAX, None));
        let order = Arc::<Mutex<Vec<usize>>>::default();
        assert!(matches!(names.claim("a", |_| true, &mut None, Waker::noop()), Claim::Granted(1)));
        let told = [1, 2].map(|number| Arc::new(Told(number, Arc::clone(&order))));
        let [mut gone, mut stays] = [(); 2].map(|()| names.claiming("a"));
        assert!(waits(&mut gone, &told[0]) && waits(&mut stays, &told[1]));
        assert_eq!(told.each_ref().map(Arc::strong_count), [2, 2]);
        drop(gone);
        assert_eq!(told.each_ref().map(Arc::strong_count), [1, 2]);
        names.resolve("a", 1, None);
        assert_eq!(*order.lock().unwrap(), [2]);
        let mut late = names.claiming("a");
        let cx = Context::from_waker(Waker::noop());
        assert!(matches!(stays.poll(|_| true, &cx), Poll::Ready(Claim::Granted(2))), "it could not be made");
        assert!(waits(&mut late, &told[0]));
        // Its place is of the claim before.
        drop(stays);
        names.resolve("a", 2, Some(7));
        assert_eq!(*order.lock().unwrap(), [2, 1]);
    }

    #[test]
    fn a_claim_is_resolved_by_who_made_it_and_no_other() {
        let names = Registry::new(&Account::new(usize::MAX, None));
        let claim = || names.claim("a", |_| true, &mut None, Waker::noop());
        assert!(matches!(claim(), Claim::Granted(1)));
        assert!(names.put("a", 9));
        names.remove("a");
        assert!(matches!(claim(), Claim::Granted(2)));
        names.resolve("a", 1, None);
        assert!(matches!(claim(), Claim::Wait), "the second claim holds");
        names.resolve("a", 1, Some(7));
        assert!(matches!(claim(), Claim::Wait));
        names.resolve("a", 2, Some(8));
        assert!(matches!(claim(), Claim::Taken(8)));
    }

    #[test]
    fn a_name_is_the_last_ones_that_it_was_given_to_and_ends_with_that() {
        let names = Registry::new(&Account::new(usize::MAX, None));
        assert!(names.put("a", 1) && names.put("a", 2));
        assert_eq!(names.get("a", |_| true), Some(2));
        assert_eq!(names.get("a", |id| id != 2), None);
        assert!(names.put("b", 3) && names.put("c", 4));
        names.forget_dead(|id| id == 4);
        assert_eq!((names.get("b", |_| true), names.get("c", |_| true)), (None, Some(4)));
        names.remove("c");
        assert_eq!(names.get("c", |_| true), None);
    }

    #[test]
    fn a_name_that_is_put_while_a_process_is_made_for_it_stays() {
        let names = Registry::new(&Account::new(usize::MAX, None));
        assert!(matches!(names.claim("a", |_| true, &mut None, Waker::noop()), Claim::Granted(1)));
        assert!(names.put("a", 9));
        names.resolve("a", 1, Some(7));
        assert_eq!(names.get("a", |_| true), Some(9));
    }

    #[test]
    fn a_name_is_put_if_it_is_free_and_taken_from_none_but_the_one_that_is_meant() {
        let names = Registry::new(&Account::new(2_000, None));
        let claim = |id, lives: bool| names.put_if_free("a", id, move |_| lives);
        assert!(matches!(claim(1, true), Claim::Granted(0)));
        assert!(matches!(claim(2, true), Claim::Taken(1)));
        assert!(matches!(claim(1, true), Claim::Granted(0)), "it has it");
        assert!(matches!(claim(2, false), Claim::Granted(0)), "that one is dead");
        names.remove_of("a", 1);
        assert_eq!(names.get("a", |_| true), Some(2));
        names.remove_of("a", 2);
        assert_eq!(names.get("a", |_| true), None);
        assert!(matches!(names.put_if_free(&"b".repeat(3_000), 1, |_| true), Claim::Full));
    }

    #[test]
    fn names_take_as_much_as_their_program_may_have_and_what_is_removed_makes_room() {
        let account = Account::new(3_000, None);
        let names = Registry::new(&account);
        let long = |letter: &str| letter.repeat(1_000);
        assert!(names.put(&long("a"), 1) && names.put(&long("b"), 2));
        assert!(!names.put(&long("c"), 3));
        assert!(matches!(names.claim(&long("c"), |_| true, &mut None, Waker::noop()), Claim::Full));
        assert!(names.put(&long("b"), 3), "that one is there");
        names.remove(&long("a"));
        assert!(names.put(&long("c"), 3));
        names.forget_dead(|_| false);
        assert!(names.put(&long("d"), 3) && names.put(&long("e"), 3));
    }
}
