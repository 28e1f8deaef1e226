;; A program that exits with a code, by the function that WASI has for that from 0.2.12 on: 7.
(component
  (import "wasi:cli/exit@0.2.12" (instance $cli
    (export "exit-with-code" (func (param "status-code" u8)))))
  (core func $exit (canon lower (func $cli "exit-with-code")))
  (core module $m
    (import "host" "exit" (func $exit (param i32)))
    (func (export "run") (result i32) (call $exit (i32.const 7)) unreachable))
  (core instance $i (instantiate $m (with "host" (instance (export "exit" (func $exit))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $program (export "run" (func $run)))
  (export "wasi:cli/run@0.2.12" (instance $program)))
