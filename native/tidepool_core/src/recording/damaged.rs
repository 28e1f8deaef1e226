//! Why a recording can't be read.

/// Why a recording can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It does not begin like one.
    #[error("this is no recording of a call, or one of another version of Tidepool: it does not begin with TIDEREC1")]
    NoRecording,
    /// It ends too early.
    #[error("the recording is cut off: fetch it again")]
    Short,
    /// Its bytes are not those that were written.
    #[error("the recording is damaged: its bytes are not those that were written")]
    Digest,
    /// They are, and mean nothing.
    #[error("the recording has a form that this version of Tidepool does not read")]
    Form,
    /// What came before it is gone.
    #[error("the recording goes on from one that was deleted, or is damaged")]
    Before,
}
