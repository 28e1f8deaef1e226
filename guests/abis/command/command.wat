;; The first byte of standard input says what is to be done, and the answer is standard output.
(module
  (import "wasi:cli/stdin@0.2.12" "get-stdin" (func $stdin (result i32)))
  (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
  (import "wasi:io/streams@0.2.12" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
  (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (memory (export "memory") 1)
  ;; include ../program.wat
  ;; The host writes one byte.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "wasi:cli/run@0.2.12#run") (result i32)
    (call $read (call $stdin) (i64.const 1) (i32.const 16))
    ;; That there is one, its place, and how many.
    (i32.store8 (i32.const 32) (call $program (i32.load8_u (i32.load (i32.const 20)))))
    (call $write (call $stdout) (i32.const 32) (i32.const 1) (i32.const 48))
    (i32.const 0)))
