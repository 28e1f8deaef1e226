//! What is done to a module's bytes before they are compiled.

pub(crate) mod accessor;
pub(crate) mod actor;
pub(crate) mod component;
pub(crate) mod exports;
pub(crate) mod inline;
mod locals;
pub(crate) mod preempt;
mod sections;
pub(crate) mod stack_pointer;
pub(crate) mod strip;
pub(crate) mod unwind;
