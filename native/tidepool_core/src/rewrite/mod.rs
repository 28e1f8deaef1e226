//! What is done to a module's bytes before they are compiled.

pub(crate) mod preempt;
pub(crate) mod stack_pointer;
