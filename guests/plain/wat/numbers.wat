;; Exports that are called as they are: all types of numbers, several results and none, state, an import of the host's, and
;; what goes wrong.
(module
  (import "env" "double" (func $double (param i32) (result i32)))
  (import "env" "divide" (func $divide (param i64 i64) (result i64 i64)))
  (import "env" "note" (func $note (param f64)))
  (memory (export "memory") 1)
  (global $calls (export "calls") (mut i32) (i32.const 0))

  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "wide") (param i64) (result i64)
    (local.get 0))
  (func (export "float") (param f32) (result f32)
    (local.get 0))
  (func (export "double_float") (param f64) (result f64)
    (local.get 0))
  (func (export "swap") (param i32 f64) (result f64 i32)
    (local.get 1) (local.get 0))
  (func (export "nothing"))
  (func (export "count") (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (global.get $calls))

  (func (export "doubled") (param i32) (result i32)
    (call $double (local.get 0)))
  (func (export "divided") (param i64 i64) (result i64 i64)
    (call $divide (local.get 0) (local.get 1)))
  (func (export "noted") (param f64)
    (call $note (local.get 0)))

  (func (export "spin")
    (loop (br 0)))
  (func (export "crash") (param i32) (result i32)
    (i32.div_s (i32.const 1) (local.get 0)))
  ;; No caller has such a value: it can't be called.
  (func (export "vector") (param v128) (result v128)
    (local.get 0)))
