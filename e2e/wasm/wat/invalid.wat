;; Does not validate: it promises a number and gives none.
(module (memory (export "memory") 1) (func (export "_start")) (func (result i32) nop))
