;; The input's first byte says what is to be done.
(module
  (import "extism:host/env" "input_load_u8" (func $input (param i64) (result i32)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (memory (export "memory") 1)
  ;; include program.wat
  (func (export "run") (result i32)
    (local $block i64)
    (local.set $block (call $alloc (i64.const 1)))
    (call $store (local.get $block) (call $program (call $input (i64.const 0))))
    (call $output (local.get $block) (i64.const 1))
    (i32.const 0)))
