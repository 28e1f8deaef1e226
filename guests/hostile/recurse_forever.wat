;; Calls itself through the host, tidepool/function/recurse_forever, and fails with the host's text
;; when that is refused.
;; Expect: guest error: the host's text at the depth limit.

(module
  (import "wapc" "__host_call" (func $host_call
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "tidepoolfunctionrecurse_forever")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (local $len i32)
    (if (call $host_call
          (i32.const 0) (i32.const 8) (i32.const 8) (i32.const 8) (i32.const 16) (i32.const 15)
          (i32.const 0) (i32.const 0))
      (then
        (call $guest_response (i32.const 0) (i32.const 0))
        (return (i32.const 1))))
    (local.set $len (call $host_error_len))
    ;; Every level may add words: keep what fits.
    (if (i32.gt_u (local.get $len) (i32.const 32768)) (then (unreachable)))
    (call $host_error (i32.const 1024))
    (call $guest_error (i32.const 1024) (local.get $len))
    (i32.const 0)))
