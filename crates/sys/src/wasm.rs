//! Mapping code that wasmtime has compiled before.

use std::fs::File;
use std::path::Path;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Maps a compiled core module.
///
/// Its machine code is taken as it is. So this belongs into a process that may do no more than that code may: one whose
/// sandbox is the boundary. The file has to come from [`Module::serialize`] and stay as it is while the module lives.
pub fn map_module(engine: &Engine, file: File) -> wasmtime::Result<Module> {
    // SAFETY: the file was written by wasmtime's own serialisation, in a process of this program, under a name that
    // says which version and settings made it (wasmtime checks these too); the folder is read-only here, and files in
    // it are replaced whole or removed, never changed.
    unsafe { Module::deserialize_open_file(engine, file) }
}

/// Maps a compiled component; see [`map_module`].
pub fn map_component(engine: &Engine, file: &Path) -> wasmtime::Result<Component> {
    // SAFETY: as in `map_module`.
    unsafe { Component::deserialize_file(engine, file) }
}
