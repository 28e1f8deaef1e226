;; Has as many streams of its host's as it is asked for, and gives none back.
(component
  (import "wasi:io/streams@0.2.0" (instance $streams (export "output-stream" (type $output (sub resource)))))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output (type $outer))
    (export "output-stream" (type $output (eq $outer)))
    (export "get-stdout" (func (result (own $output))))))
  (core func $stdout (canon lower (func $stdout "get-stdout")))
  (core module $m
    (import "host" "stdout" (func $stdout (result i32)))
    (func (export "streams") (param i32)
      (loop $next
        (drop (call $stdout))
        (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
  (core instance $i (instantiate $m (with "host" (instance (export "stdout" (func $stdout))))))
  (func (export "streams") (param "count" u32) (canon lift (core func $i "streams"))))
