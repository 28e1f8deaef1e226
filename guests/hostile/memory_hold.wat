;; Grows its memory as far as it is let, and replies with the number of 64 KiB pages it has then.
;; Expect: replies, with no more than its limit.

(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (local $left i32)
    (local $at i32)
    (local $step i32)
    ;; In steps of 256 pages, then of one.
    (local.set $step (i32.const 256))
    (loop $more
      (br_if $more (i32.ge_s (memory.grow (local.get $step)) (i32.const 0)))
      (if (i32.ne (local.get $step) (i32.const 1))
        (then (local.set $step (i32.const 1)) (br $more))))
    ;; The decimal digits, from the last to the first.
    (local.set $left (memory.size))
    (local.set $at (i32.const 16))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 0x30) (i32.rem_u (local.get $left) (i32.const 10))))
      (local.set $left (i32.div_u (local.get $left) (i32.const 10)))
      (br_if $digit (local.get $left)))
    (call $guest_response (local.get $at) (i32.sub (i32.const 16) (local.get $at)))
    (i32.const 1)))
