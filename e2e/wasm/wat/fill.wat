;; Fills and copies all of its memory, again and again: no operation can be interrupted, and each takes milliseconds.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $half i32)
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (local.set $half (i32.mul (memory.size) (i32.const 32768)))
    (loop $again
      (memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))
      (memory.copy (local.get $half) (i32.const 0) (local.get $half))
      (br $again))))
