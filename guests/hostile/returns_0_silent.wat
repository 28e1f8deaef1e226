;; Fails without a text.
;; Expect: guest error without a text.

(module
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.const 0)))
