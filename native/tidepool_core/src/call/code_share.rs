//! The code of functions, counted by its bytes for as long as calls can reach it, and with it the texts of their options: a small module may
//! have many more of these.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::node::Node;
use crate::base::error::CallError;
use crate::base::fair_share::{Held, Takers};
use crate::module::compiled::CompiledModule;
use crate::os::trim::freed;
use crate::store::context::FunctionContext;

/// What the code of a module takes as that of a function, and what the function's texts take, until its last call is over.
pub(crate) struct CodeShare {
    name: String,
    text_bytes: usize,
    takers: Takers,
    /// All that the function has.
    of_function: Arc<Held>,
    /// Nothing, once it was refused.
    bytes: AtomicUsize,
}

/// Most bytes of texts with which versions have one share, although each has its own texts.
const COMMON_TEXT_BYTES: usize = 4 << 10;

/// The one of a module that was made last: all versions of a function with the same code and as long texts have one, if these are short. Long
/// texts are in memory once for each version, whether or not they are the same, and so they count, with the code, as often.
pub(crate) type LastShare = Mutex<Weak<CodeShare>>;

impl CodeShare {
    /// Counts what is there already. So a version that other nodes serve is served here, too, however much there is.
    pub(crate) fn new(node: &Node, function: &FunctionContext, module: &CompiledModule) -> Arc<Self> {
        let (name, of_function) = (&function.name, &function.stats.function.code);
        let bounded = node.namespace(name).iter().map(|namespace| Arc::clone(&namespace.code)).collect();
        let takers = Takers::new(&node.code, bounded, of_function);
        // What a program has brought is its own to count.
        let bytes = if module.is_brought { 0 } else { module.bytes().saturating_add(function.text_bytes) };
        takers.force(bytes);
        let (name, of_function) = (String::from(&**name), Arc::clone(of_function));
        Arc::new(CodeShare { name, text_bytes: function.text_bytes, takers, of_function, bytes: bytes.into() })
    }

    /// The last one, if it is of a function of this name with as long texts, which are short, or what `make` makes.
    pub(crate) fn again(last: &LastShare, function: &FunctionContext, make: impl FnOnce() -> Arc<Self>) -> Arc<Self> {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_short = function.text_bytes <= COMMON_TEXT_BYTES;
        let same =
            |share: &Arc<Self>| is_short && share.name == *function.name && share.text_bytes == function.text_bytes;
        let share = last.upgrade().filter(same).unwrap_or_else(make);
        *last = Arc::downgrade(&share);
        share
    }

    /// The function.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that count.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Is there room for it, beside that of all other functions, when the version that it takes the place of is gone, which has so many bytes?
    /// There always is for less than that, where calls have no older ones. If there is none it counts no more: it is about to go.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] when functions have more than they may, or those of its namespace more than they leave to others.
    pub(crate) fn fits(&self, served: usize) -> Result<(), CallError> {
        let bytes = self.bytes();
        let is_less = bytes <= served && self.of_function.count() <= served.saturating_add(bytes);
        if is_less || self.takers.is_within_without(served) {
            return Ok(());
        }
        let common = self.takers.common();
        let (used, held, most) = (common.used(), self.takers.held(), common.most());
        let whose = if used > most {
            format!("this node's functions have {used}")
        } else {
            format!("the functions of its namespace have {held}, and leave less to others")
        };
        self.give_back();
        Err(CallError::Overloaded {
            message: format!(
                "its code and the texts of its options take {bytes} bytes, with which {whose}, of {most} that there may \
                 be (the setting max_code): remove functions first"
            ),
        })
    }

    fn give_back(&self) -> usize {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.takers.give_back_all(bytes);
        bytes
    }
}

impl Drop for CodeShare {
    fn drop(&mut self) {
        freed(self.give_back());
    }
}
