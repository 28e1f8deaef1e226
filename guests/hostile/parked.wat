;; Makes one host call, host/test/park, and replies with what comes back: it waits for as long as
;; the host does.
;; Expect: what the host says; nothing until then.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hosttestpark")

  ;; The host writes from the second page on.
  (func $make_room (param $len i32)
    (local $pages i32)
    (local.set $pages
      (i32.sub
        (i32.add (i32.shr_u (local.get $len) (i32.const 16)) (i32.const 2))
        (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then (if (i32.lt_s (memory.grow (local.get $pages)) (i32.const 0)) (then (unreachable))))))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (local $len i32)
    (if (i32.eqz (call $host_call
          (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 4) (i32.const 8) (i32.const 4)
          (i32.const 0) (i32.const 0)))
      (then
        (local.set $len (call $host_error_len))
        (call $make_room (local.get $len))
        (call $host_error (i32.const 65536))
        (call $guest_error (i32.const 65536) (local.get $len))
        (return (i32.const 0))))
    (local.set $len (call $host_response_len))
    (call $make_room (local.get $len))
    (call $host_response (i32.const 65536))
    (call $guest_response (i32.const 65536) (local.get $len))
    (i32.const 1)))
