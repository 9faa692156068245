//! What the figures of the program under test are held against: the same interpreter in a bare loop at the other end
//! of a socket ([`guest`]), and bare HTTP servers without it and before it ([`front`]), each a process of its own.

pub(crate) mod front;
pub(crate) mod guest;
pub(crate) mod runtime;
