;; Grows its memory and touches every byte until it is refused, then traps.
;; Expect: trap: unreachable, or the memory limit.

(module
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (local $old i32)
    (loop $more
      (local.set $old (memory.grow (i32.const 16)))
      (if (i32.lt_s (local.get $old) (i32.const 0)) (then (unreachable)))
      (memory.fill
        (i32.shl (local.get $old) (i32.const 16)) (i32.const 0x5a) (i32.const 0x100000))
      (br $more))
    (unreachable)))
