//! The files that code is mapped from: each module that is compiled has one open for as long as it is there, and a node has so many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit};

use crate::base::error::CompileError;

/// Where the system has no bound.
const UNBOUNDED: u64 = 1 << 20;

/// How many there may be, and whose there are. A namespace has no more than it leaves to others; functions without one have whatever is
/// free.
#[derive(Debug)]
pub(crate) struct CodeFiles {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_namespace: BTreeMap<Box<str>, usize>,
}

/// One of them, which is given back on drop.
pub(crate) struct CodePlace {
    files: Arc<CodeFiles>,
    namespace: Box<str>,
}

impl CodeFiles {
    /// Half of what this process may have open: connections, and whatever else the node opens, find the other half.
    pub(super) fn of_process() -> Arc<Self> {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(UNBOUNDED) / 2;
        Self::new(usize::try_from(most).unwrap_or(usize::MAX))
    }

    fn new(most: usize) -> Arc<Self> {
        Arc::new(CodeFiles { most, taken: Mutex::default() })
    }

    /// One for a module of this namespace. What `was_deployed` before, here or elsewhere, has one for as long as there are any: so a start
    /// has all functions that there is room for, and leaves what else the node needs.
    ///
    /// # Errors
    /// [`CompileError::TooDemanding`] when there is none, or the namespace has as many as are left.
    pub(super) fn take(self: &Arc<Self>, namespace: &str, was_deployed: bool) -> Result<CodePlace, CompileError> {
        let mut taken = self.taken();
        let (left, most) = (self.most.saturating_sub(taken.all), self.most);
        let has = taken.by_namespace.get(namespace).copied().unwrap_or(0);
        let is_share = was_deployed || namespace.is_empty() || left > has;
        if left == 0 || !is_share {
            let whose = if left == 0 { "all are taken" } else { "its namespace has as many as it leaves to others" };
            let message = format!(
                "the code of each module is a file that the node has open, of which there may be {most}, and {whose}: \
                 remove functions first, or raise the limit of open files (LimitNOFILE), of which these are half"
            );
            return Err(CompileError::TooDemanding { message });
        }
        taken.all += 1;
        *taken.by_namespace.entry(namespace.into()).or_default() += 1;
        Ok(CodePlace { files: Arc::clone(self), namespace: namespace.into() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing that can panic runs under the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CodePlace {
    fn drop(&mut self) {
        let mut taken = self.files.taken();
        taken.all = taken.all.saturating_sub(1);
        let left = taken.by_namespace.get(&self.namespace).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            taken.by_namespace.remove(&self.namespace);
        } else {
            taken.by_namespace.insert(self.namespace.clone(), left);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    /// Those that a namespace gets until it is refused one.
    fn all(files: &Arc<CodeFiles>, namespace: &str, was_deployed: bool) -> Vec<CodePlace> {
        std::iter::repeat_with(|| files.take(namespace, was_deployed)).map_while(Result::ok).collect()
    }

    #[test]
    fn a_namespace_has_no_more_files_of_code_than_it_leaves_to_others_and_what_is_dropped_is_there_again() {
        let files = CodeFiles::new(16);
        let shop = all(&files, "shop", false);
        assert_eq!(shop.len(), 8);
        let blog = all(&files, "blog", false);
        assert_eq!(blog.len(), 4);
        let refused = files.take("shop", false).err();
        assert!(
            matches!(&refused, Some(CompileError::TooDemanding { message }) if message.contains("LimitNOFILE")),
            "{refused:?}"
        );
        drop(shop);
        assert_eq!(all(&files, "mail", false).len(), 6);
        drop(blog);
        assert_eq!(all(&files, "", false).len(), 16, "who has no namespace has what is free");
        let taken = files.taken();
        assert!(taken.all == 0 && taken.by_namespace.is_empty());
    }

    #[test]
    fn what_was_deployed_before_has_files_of_code_until_there_are_none_and_leaves_the_node_the_other_half() {
        let files = CodeFiles::new(16);
        let shop = all(&files, "shop", true);
        assert_eq!(shop.len(), 16);
        assert!(files.take("", false).is_err() && files.take("blog", true).is_err());
        drop(shop);
        assert!(CodeFiles::of_process().most > 0);
    }
}
