//! The threads that serve connections. A connection stays on one from its first byte to its last: nothing of it moves between
//! cores, and no thread looks for work at another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::runtime::Handle;

/// A thread, as a runtime that it alone drives.
pub(crate) struct Lane {
    pub(crate) runtime: Handle,
    /// Connections on it.
    open: AtomicUsize,
}

/// All of them.
pub(crate) struct Lanes(Vec<Arc<Lane>>);

impl Lanes {
    /// Those of `runtimes`; of `otherwise`, if there are none.
    pub(crate) fn new(runtimes: &[Handle], otherwise: &Handle) -> Self {
        let runtimes = if runtimes.is_empty() { std::slice::from_ref(otherwise) } else { runtimes };
        let lane = |runtime: &Handle| Arc::new(Lane { runtime: runtime.clone(), open: AtomicUsize::new(0) });
        Lanes(runtimes.iter().map(lane).collect())
    }

    /// A place on the lane with the fewest connections. `None` only if there are no lanes.
    pub(crate) fn place(&self) -> Option<OnLane> {
        let lane = self.0.iter().min_by_key(|lane| lane.open.load(Relaxed))?;
        lane.open.fetch_add(1, Relaxed);
        Some(OnLane(Arc::clone(lane)))
    }
}

/// A connection's place on its lane.
pub(crate) struct OnLane(Arc<Lane>);

impl std::ops::Deref for OnLane {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.0
    }
}

impl Drop for OnLane {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_goes_where_the_fewest_are() {
        let here = Handle::current();
        let lanes = Lanes::new(&[here.clone(), here.clone()], &here);
        let of = |place: &Option<OnLane>| {
            place.as_ref().and_then(|place| lanes.0.iter().position(|lane| Arc::ptr_eq(lane, &place.0)))
        };
        let (first, second, third) = (lanes.place(), lanes.place(), lanes.place());
        assert_eq!([of(&first), of(&second), of(&third)], [Some(0), Some(1), Some(0)]);
        drop((first, third));
        let (fourth, fifth) = (lanes.place(), lanes.place());
        assert_eq!([of(&fourth), of(&fifth)], [Some(0), Some(0)], "the second has one already");
    }

    #[tokio::test]
    async fn without_lanes_the_runtime_serves() {
        assert!(Lanes::new(&[], &Handle::current()).place().is_some());
    }
}
