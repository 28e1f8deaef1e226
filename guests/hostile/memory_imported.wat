;; Wants its memory from the host.
;; Expect: deploy refused: unknown import env/memory.

(module
  (import "env" "memory" (memory 1))
  (export "memory" (memory 0))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.const 1)))
