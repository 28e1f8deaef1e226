;; Calls through a table entry of another type.
;; Expect: trap: bad signature.

(module
  (memory (export "memory") 1)
  (table funcref (elem $other))
  (func $other (param i64))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call_indirect (result i32) (i32.const 0))))
