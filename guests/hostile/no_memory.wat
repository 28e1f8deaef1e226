;; Has a memory but does not export it.
;; Expect: deploy refused: no memory.

(module
  (memory 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.const 1)))
