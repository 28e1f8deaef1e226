//! Names by themselves: who has them, who waits for them, and what they take.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

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

#[test]
fn names_of_a_process_are_forgotten_some_at_a_time_and_those_that_others_have_or_have_got_stay() {
    let account = Account::new(1 << 20, None);
    let names = Registry::by_owner(&account);
    let name = |number: u64| format!("name {number}");
    for number in 0..10 {
        assert!(names.put(&name(number), 7) && names.put(&format!("other {number}"), 6 + 2 * (number % 2)));
    }
    // Another has got one of them, one was removed, one is claimed, and one is given to it once more.
    assert!(names.put(&name(0), 8));
    names.remove(&name(1));
    assert!(matches!(names.claim(&name(2), |id| id != 7, &mut None, Waker::noop()), Claim::Granted(1)));
    names.resolve(&name(2), 1, Some(6));
    assert!(names.put(&name(3), 7));
    assert!(!names.forget(7, 3) && !names.forget(7, 3));
    assert_eq!((0..10).filter(|number| names.get(&name(*number), |_| true) == Some(7)).count(), 1);
    assert!(names.forget(7, 3) && names.forget(7, 3));
    let left = |number: u64| names.get(&name(number), |_| true);
    assert_eq!((0..10).map(left).collect::<Vec<_>>(), [vec![Some(8), None, Some(6)], vec![None; 7]].concat());

    // The sweep leaves nothing of the dead behind, either.
    names.forget_dead(|id| id != 8);
    assert!(names.forget(8, 0));
    let other = |number: u64| names.get(&format!("other {number}"), |_| true);
    assert_eq!((0..4).map(other).collect::<Vec<_>>(), [Some(6), None, Some(6), None]);
    names.forget_dead(|_| false);
    assert!(names.put(&"a".repeat((1 << 20) - OWNED_NAME_BYTES), 1), "all that they took is given back");
}
