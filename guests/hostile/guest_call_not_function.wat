;; Exports a global by the name of __guest_call.
;; Expect: deploy refused: not a function.

(module
  (memory (export "memory") 1)
  (global (export "__guest_call") i32 (i32.const 1)))
