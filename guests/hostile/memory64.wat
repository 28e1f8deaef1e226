;; Has a memory of 64-bit addresses, which waPC has no words for.
;; Expect: deploy refused.

(module
  (memory (export "memory") i64 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.const 1)))
