//! Figures that a program's processes report under names of their own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;

/// Most figures of a program; further names are not kept.
const MAX_FIGURES: usize = 1_000;

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
#[derive(Default)]
pub(crate) struct Figures(Mutex<HashMap<String, Figure, RandomState>>);

impl Figures {
    /// Changes the figure `name`, which is `new` when there is none of its kind.
    pub(crate) fn change(&self, name: String, new: Figure, change: impl FnOnce(&mut Figure)) {
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if figures.len() >= MAX_FIGURES && !figures.contains_key(&name) {
            return;
        }
        let figure = figures.entry(name).or_insert(new);
        if std::mem::discriminant(figure) != std::mem::discriminant(&new) {
            *figure = new;
        }
        change(figure);
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<(String, Figure)> {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = figures.iter().map(|(name, figure)| (name.clone(), *figure)).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}
