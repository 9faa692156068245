//! A host process's behaviour, run in a thread, over a bare socket.
#![cfg(feature = "host")]

mod calls;
mod client;
mod compiling;
mod http;
mod limits;
mod wat;
