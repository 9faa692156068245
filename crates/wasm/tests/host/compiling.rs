use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use ephyra_wasm::host::compile;
use proptest::prelude::*;

use crate::wat::{ECHO, command};

fn verdict(module: &[u8]) -> (u8, Vec<u8>) {
    let (mut socket, theirs) = UnixStream::pair().unwrap();
    let compiler = std::thread::spawn(move || compile::run(theirs));
    socket.write_all(module).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = Vec::new();
    socket.read_to_end(&mut said).unwrap();
    compiler.join().unwrap().unwrap();
    (said[0], said.split_off(1))
}

#[test]
fn modules_and_components_are_taken() {
    let (taken, artefact) = verdict(&wat::parse_str(command(ECHO)).unwrap());
    assert_eq!(taken, 1);
    assert!(artefact.starts_with(b"\x7fELF"));
}

#[track_caller]
fn refused(module: &[u8], why: &str) {
    let (taken, reason) = verdict(module);
    let reason = String::from_utf8(reason).unwrap();
    assert!(taken == 0 && reason.contains(why), "{reason}");
}

#[test]
fn what_cannot_be_a_function_is_refused_with_a_reason() {
    let wat = |text: &str| wat::parse_str(text).unwrap();
    refused(b"", "not WebAssembly");
    refused(b"#!/bin/sh", "not WebAssembly");
    refused(b"\0asm\x01\0\0\0\xff", "malformed section id");
    refused(&wat("(module)"), "it exports none of what can be called");
    refused(&wat("(component)"), "it exports none of what can be called");
    refused(
        &wat("(module (import \"env\" \"f\" (func)) (func (export \"_start\")))"),
        "unknown import: `env::f`",
    );
    refused(
        &wat("(module (func (export \"_start\") i32.const 1))"),
        "values remaining on stack",
    );
    refused(&wat("(module (memory 65537) (func (export \"_start\")))"), "memory");
    refused(
        &wat("(component (import \"wasi:keyvalue/store@0.2.0\" (instance (export \"f\" (func)))))"),
        "wasi:keyvalue/store",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_bytes_are_compiled_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0..200usize, value: u8) {
        prop_assert!(compile::compile(&bytes).is_err());
        let mut module = wat::parse_str(command(ECHO)).unwrap();
        if let Some(byte) = module.get_mut(at) {
            *byte = value;
        }
        // Either is right; what matters is that it comes back.
        drop(compile::compile(&module));
    }
}
