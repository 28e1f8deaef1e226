;; Returns a 64-bit number where a 32-bit one is due. Invalid on purpose: the assembler does not
;; check it.
;; Expect: deploy refused: not valid WebAssembly.

(module
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (i64.const 1)))
