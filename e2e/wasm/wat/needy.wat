;; Begins with more memory than its function has.
(module (memory (export "memory") 4000) (func (export "_start")))
