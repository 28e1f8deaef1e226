;; Grows its table until it is refused, then traps.
;; Expect: trap: unreachable, or the table limit.

(module
  (memory (export "memory") 1)
  (table $slots 1 funcref)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (loop $more
      (br_if $more (i32.ge_s (table.grow $slots (ref.null func) (i32.const 1024)) (i32.const 0))))
    (unreachable)))
