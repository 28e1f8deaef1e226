//! Records as who uses the crate has them: in a file, in a database, and on the disks of nodes.

mod alarms;
mod crowded;
mod disk;
mod gone;
mod large;
mod log;
mod members;
mod model;
mod moving;
mod returns;
mod several;
mod shared;
mod standing;
mod support;
mod survives;
mod voters;
