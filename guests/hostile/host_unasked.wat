;; Fetches a host response and a host error without having called the host.
;; Expect: reply nothing: both have no bytes.

(module
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "nothing")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (if (i32.or (call $host_response_len) (call $host_error_len)) (then (unreachable)))
    (call $host_response (i32.const 0))
    (call $host_error (i32.const 0))
    (call $guest_response (i32.const 0) (i32.const 7))
    (i32.const 1)))
