;; Fills 16 MiB again and again: each instruction is long and has no place to be interrupted
;; within.
;; Expect: deadline.

(module
  (memory (export "memory") 256)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (loop $forever
      (memory.fill (i32.const 0) (i32.const 0x5a) (i32.const 0x1000000))
      (br $forever))
    (unreachable)))
