;; Divides by zero.
;; Expect: trap: division by zero.

(module
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.div_u (i32.const 1) (i32.const 0))))
