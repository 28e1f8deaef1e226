;; A module without a memory: what it is given comes back, of each type, and of all at once.
(module
  (func (export "i32") (param i32) (result i32) (local.get 0))
  (func (export "i64") (param i64) (result i64) (local.get 0))
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "all") (param i32 i64 f32 f64) (result i32 i64 f32 f64)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3))
  (func (export "eight") (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64 i64 i64 i64 i64 i64 i64 i64)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7))
  ;; Names that have a meaning elsewhere.
  (func (export "wapc_init") (result i32) (i32.const 1))
  (func (export "gr\c3\b6\c3\9fe") (result i32) (i32.const 2))
  (func (export "") (result i32) (i32.const 3))
  (func (export "a/b") (result i32) (i32.const 4)))
