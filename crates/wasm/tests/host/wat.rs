//! Modules of a few lines.

/// A command whose `_start` has this body. Memory: events at 1024, an `iovec` at 0.
pub(crate) fn command(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (global $count (mut i32) (i32.const 0))
            (data (i32.const 512) "\"fixed\"")
            (data (i32.const 600) "a line\n")
            ;; Writes `length` bytes at `at` to `fd`.
            (func $write (param $fd i32) (param $at i32) (param $length i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $length))
                (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func (export "_start") {body})
        )"#
    )
}

/// Answers with its event, of less than 64 KB.
pub(crate) const ECHO: &str = "
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 65536))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 8)))";

/// Never ends.
pub(crate) const SPIN: &str = "(loop $again (br $again))";
