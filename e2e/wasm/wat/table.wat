;; A table larger than any may be.
(module (table 2000000 funcref) (memory (export "memory") 1) (func (export "_start")))
