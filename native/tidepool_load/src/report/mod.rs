//! What a run is told as: numbers first, then text, JSON and a page made of them.

mod goals;
mod html;
mod output;
mod plot;
mod summary;
mod table;

pub(crate) use goals::{ErrorLimit, Goals};
pub(crate) use output::{Outputs, Reserved, to_json};
pub(crate) use summary::{About, Counts, Quantiles, Summary};
pub(crate) use table::print;
