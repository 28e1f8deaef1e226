;; Reads behind the end of its memory.
;; Expect: trap: memory out of bounds.

(module
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.load (i32.const 65536))))
