;; Exports a function by the name of memory.
;; Expect: deploy refused: no memory.

(module
  (func (export "memory"))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.const 1)))
