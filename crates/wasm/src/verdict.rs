//! What the process that compiles answers: one byte, and what it says.

/// The largest module, in bytes.
pub(crate) const MODULE_BYTES: u64 = 128 << 20;
/// The compiled form follows.
pub(crate) const TAKEN: u8 = 1;
/// The reason follows.
pub(crate) const REFUSED: u8 = 0;
