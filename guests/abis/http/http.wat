;; The path is the character that says what is to be done, and the status is 200 more than the character that comes of it.
(module
  (import "wasi:http/types@0.2.12" "[method]incoming-request.path-with-query" (func $path (param i32 i32)))
  (import "wasi:http/types@0.2.12" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.12" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-response.set-status-code" (func $status (param i32 i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[static]response-outparam.set"
    (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  ;; include ../program.wat
  ;; The host writes one path for each request.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "wasi:http/incoming-handler@0.2.12#handle") (param $request i32) (param $out i32)
    (local $answer i32)
    (call $path (local.get $request) (i32.const 16))
    ;; A path that there is, its place, and its length: what comes after the slash.
    (local.set $answer (call $response (call $fields)))
    (drop (call $status (local.get $answer)
      (i32.add (i32.const 200) (call $program (i32.load8_u offset=1 (i32.load (i32.const 20)))))))
    (call $set (local.get $out) (i32.const 0) (local.get $answer)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
