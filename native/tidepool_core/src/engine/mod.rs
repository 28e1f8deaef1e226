//! The engines that modules are compiled for and instances live on.

pub(crate) mod engines;
