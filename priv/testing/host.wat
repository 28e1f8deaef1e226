;; Makes the host call that its operation names, BINDING/NAMESPACE/OPERATION, with its own payload. The host's answer is its
;; reply, the host's error its own.
(module
  (import "wapc" "__guest_request" (func $request (param $operation i32) (param $payload i32)))
  (import "wapc" "__guest_response" (func $response (param $at i32) (param $len i32)))
  (import "wapc" "__guest_error" (func $error (param $at i32) (param $len i32)))
  (import "wapc" "__host_call" (func $host_call
    (param $binding i32) (param $binding_len i32) (param $namespace i32) (param $namespace_len i32)
    (param $operation i32) (param $operation_len i32) (param $payload i32) (param $payload_len i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param $at i32)))
  (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
  (import "wapc" "__host_error" (func $host_error (param $at i32)))
  (memory (export "memory") 1)

  ;; Memory for so many bytes and more.
  (func $room (param $bytes i32)
    (drop (memory.grow (i32.shr_u (local.get $bytes) (i32.const 16)))))

  ;; Where the next slash is, from `at` on, or `end`.
  (func $slash (param $at i32) (param $end i32) (result i32)
    (block $found
      (loop $next
        (br_if $found (i32.ge_u (local.get $at) (local.get $end)))
        (br_if $found (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x2f)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $at))

  (func (export "__guest_call") (param $operation_len i32) (param $payload_len i32) (result i32)
    (local $namespace i32)
    (local $operation i32)
    (local $len i32)
    (local $end i32)
    ;; Behind the text below come the operation and the payload.
    (local.set $end (i32.add (i32.const 64) (local.get $operation_len)))
    (call $room (i32.add (local.get $end) (local.get $payload_len)))
    (call $request (i32.const 64) (local.get $end))
    ;; Where the first slash is and the second, or the end of the operation.
    (local.set $namespace (call $slash (i32.const 64) (local.get $end)))
    (local.set $operation (call $slash (i32.add (local.get $namespace) (i32.const 1)) (local.get $end)))
    (if (i32.ge_u (local.get $operation) (local.get $end)) (then
      (call $error (i32.const 0) (i32.const 51))
      (return (i32.const 0))))
    (if (call $host_call
          (i32.const 64) (i32.sub (local.get $namespace) (i32.const 64))
          (i32.add (local.get $namespace) (i32.const 1))
          (i32.sub (i32.sub (local.get $operation) (local.get $namespace)) (i32.const 1))
          (i32.add (local.get $operation) (i32.const 1))
          (i32.sub (i32.sub (local.get $end) (local.get $operation)) (i32.const 1))
          (local.get $end) (local.get $payload_len))
      (then
        (local.set $len (call $host_response_len))
        (call $room (i32.add (i32.const 64) (local.get $len)))
        (call $host_response (i32.const 64))
        (call $response (i32.const 64) (local.get $len))
        (return (i32.const 1))))
    (local.set $len (call $host_error_len))
    (call $room (i32.add (i32.const 64) (local.get $len)))
    (call $host_error (i32.const 64))
    (call $error (i32.const 64) (local.get $len))
    (i32.const 0))

  (data (i32.const 0) "the operation has to be BINDING/NAMESPACE/OPERATION"))
