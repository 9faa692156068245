;; Calls the host as often as it can: clocks, randomness, an empty line, a yield.
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (loop $again
      (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 0)))
      (drop (call $random (i32.const 1024) (i32.const 65536)))
      (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 16)))
      (drop (call $yield))
      (br $again))))
