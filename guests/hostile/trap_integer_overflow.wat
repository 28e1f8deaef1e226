;; Divides the smallest integer by -1, which has no result.
;; Expect: trap: integer overflow.

(module
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.div_s (i32.const 0x80000000) (i32.const -1))))
