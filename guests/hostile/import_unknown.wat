;; Imports env/mystery.
;; Expect: deploy refused: unknown import env/mystery.

(module
  (import "env" "mystery" (func $mystery))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $mystery)
    (i32.const 1)))
