;; Waits for a minute.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; A subscription: user data 0, a clock, the monotonic one, 60 s from now.
  (data (i32.const 16) "\01\00\00\00")
  (func (export "_start")
    (i64.store (i32.const 24) (i64.const 60000000000))
    (drop (call $poll (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 512)))))
