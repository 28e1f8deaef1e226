;; Calls host/test/init with the payload from init in wapc_init, and replies with what came back:
;; refused or, at most 1 KiB long, the host's answer.
;; Expect: reply: the host's answer, or refused.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hosttestinitfrom init")
  (data (i32.const 1024) "refused")
  (global $len (mut i32) (i32.const 7))
  (func (export "wapc_init")
    (if (call $host_call
          (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 4) (i32.const 8) (i32.const 4)
          (i32.const 12) (i32.const 9))
      (then
        (global.set $len (call $host_response_len))
        (if (i32.gt_u (global.get $len) (i32.const 1024)) (then (unreachable)))
        (call $host_response (i32.const 1024)))))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $guest_response (i32.const 1024) (global.get $len))
    (i32.const 1)))
