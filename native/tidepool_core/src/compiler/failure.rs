//! Why there is no code of a module.

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What the compiler says of the module.
    #[error("{0:#}")]
    Refused(wasmtime::Error),
    /// The compiler was ended for what it took.
    #[error("compiling it takes more than {0}; split its largest functions, or have its compiler optimise for size")]
    Bound(String),
    /// The deployer is gone.
    #[error("nobody waits for the module any more")]
    Unwanted,
    /// The compiler ended by itself, or can't be started.
    #[error("{0}")]
    Broken(String),
}
