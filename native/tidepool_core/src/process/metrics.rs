//! Figures that a program's processes report under names of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use super::bounds::account::{Account, Share};

/// Most figures of a program; further names are not kept.
const MAX_FIGURES: usize = 1_000;
/// What a figure takes beside its name.
const FIGURE_BYTES: usize = 96;

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// What has been counted.
    Counter(u64),
    /// What it is at the moment.
    Gauge(f64),
    /// How many values there were, and their sum.
    Histogram(u64, f64),
}

/// The figures of a program.
pub(crate) struct Figures(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    figures: HashMap<String, Figure, RandomState>,
    share: Share,
    bytes: usize,
    /// There will be none any more.
    closed: bool,
}

impl Figures {
    pub(super) fn new(account: &Arc<Account>) -> Self {
        Figures(Mutex::new(Kept { share: Share::new(account, 0), ..Kept::default() }))
    }

    /// Changes the figure `name`, which is `new` when there is none of its kind. One too many is not kept.
    pub(crate) fn change(&self, name: String, new: Figure, change: impl FnOnce(&mut Figure)) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.figures.contains_key(&name) {
            let all = kept.bytes + name.len() + FIGURE_BYTES;
            if kept.closed || kept.figures.len() >= MAX_FIGURES || !kept.share.hold(all) {
                return;
            }
            kept.bytes = all;
        }
        let figure = kept.figures.entry(name).or_insert(new);
        if std::mem::discriminant(figure) != std::mem::discriminant(&new) {
            *figure = new;
        }
        change(figure);
    }

    /// Forgets all of them, of a program that is gone: none is kept from now on.
    pub(super) fn close(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept { closed: true, ..Kept::default() };
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<(String, Figure)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = kept.figures.iter().map(|(name, figure)| (name.clone(), *figure)).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}
