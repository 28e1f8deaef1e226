;; Calls through a table entry that holds nothing.
;; Expect: trap: null call.

(module
  (memory (export "memory") 1)
  (table 1 funcref)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call_indirect (result i32) (i32.const 0))))
