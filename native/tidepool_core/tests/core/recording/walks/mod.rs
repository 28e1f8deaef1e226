//! Walks over all imports of all ABIs, and guests that nobody wrote: what is recorded of them is replayed to the same.

mod changed;
mod generated;
mod imports;
mod linked;
mod moving;
mod processes;
mod program;
