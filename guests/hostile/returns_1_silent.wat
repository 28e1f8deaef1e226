;; Succeeds without a reply.
;; Expect: empty reply, or an error.

(module
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.const 1)))
