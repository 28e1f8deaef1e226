//! The threads that serve connections. A connection stays on one from its first byte to its last: nothing of it moves between
//! cores, and no thread looks for work at another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::runtime::Handle;

/// A thread, as a runtime that it alone drives.
pub(crate) struct Worker {
    pub(crate) runtime: Handle,
    /// Connections on it.
    open: AtomicUsize,
}

/// All of them.
pub(crate) struct Workers(Vec<Arc<Worker>>);

impl Workers {
    /// Those of `runtimes`; of `otherwise`, if there are none.
    pub(crate) fn new(runtimes: &[Handle], otherwise: &Handle) -> Self {
        let runtimes = if runtimes.is_empty() { std::slice::from_ref(otherwise) } else { runtimes };
        let worker = |runtime: &Handle| Arc::new(Worker { runtime: runtime.clone(), open: AtomicUsize::new(0) });
        Workers(runtimes.iter().map(worker).collect())
    }

    /// A place on the worker with the fewest connections. `None` only if there are no workers.
    pub(crate) fn place(&self) -> Option<OnWorker> {
        let worker = self.0.iter().min_by_key(|worker| worker.open.load(Relaxed))?;
        worker.open.fetch_add(1, Relaxed);
        Some(OnWorker(Arc::clone(worker)))
    }
}

/// A connection's place on its worker.
pub(crate) struct OnWorker(Arc<Worker>);

impl std::ops::Deref for OnWorker {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        &self.0
    }
}

impl Drop for OnWorker {
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
        let workers = Workers::new(&[here.clone(), here.clone()], &here);
        let of = |place: &Option<OnWorker>| {
            place.as_ref().and_then(|place| workers.0.iter().position(|worker| Arc::ptr_eq(worker, &place.0)))
        };
        let (first, second, third) = (workers.place(), workers.place(), workers.place());
        assert_eq!([of(&first), of(&second), of(&third)], [Some(0), Some(1), Some(0)]);
        drop((first, third));
        let (fourth, fifth) = (workers.place(), workers.place());
        assert_eq!([of(&fourth), of(&fifth)], [Some(0), Some(0)], "the second has one already");
    }

    #[tokio::test]
    async fn without_workers_the_runtime_serves() {
        assert!(Workers::new(&[], &Handle::current()).place().is_some());
    }
}
