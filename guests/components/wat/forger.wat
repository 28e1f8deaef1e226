;; A component that has no cart, and would put things into others': by a static function that takes the number of a cart, and by a
;; session of its own, whose type is that of carts here.
(component
  (import "docs:shop/carts@1.0.0" (instance $carts
    (export "cart" (type $cart (sub resource)))
    (export "[method]cart.open" (func (param "self" (borrow $cart)) (result u32)))
    (export "[static]cart.add" (func (param "cart" u32) (param "item" string) (result u32)))
    (export "[static]cart.both" (func (param "one" u32) (param "other" u32) (result (own $cart))))))
  (alias export $carts "cart" (type $cart))
  (import "docs:auth/sessions@1.0.0" (instance $sessions
    (alias outer 1 $cart (type $outer))
    (export "session" (type $session (eq $outer)))
    (export "[constructor]session" (func (param "number" u32) (result (own $session))))))
  (core module $libc (memory (export "memory") 1) (data (i32.const 16) "stolen"))
  (core instance $libc (instantiate $libc))
  (core func $new (canon lower (func $sessions "[constructor]session")))
  (core func $method (canon lower (func $carts "[method]cart.open")))
  (core func $static (canon lower (func $carts "[static]cart.add") (memory (core memory $libc "memory"))))
  (core func $both (canon lower (func $carts "[static]cart.both")))
  (core module $m
    (import "host" "new" (func $new (param i32) (result i32)))
    (import "host" "method" (func $method (param i32) (result i32)))
    (import "host" "static" (func $static (param i32 i32 i32) (result i32)))
    (import "host" "both" (func $both (param i32 i32) (result i32)))
    (func (export "session") (param i32) (result i32) (call $method (call $new (local.get 0))))
    (func (export "number") (param i32) (result i32) (call $static (local.get 0) (i32.const 16) (i32.const 6)))
    (func (export "numbers") (param i32) (result i32) (call $both (local.get 0) (local.get 0))))
  (core instance $i (instantiate $m (with "host" (instance
    (export "new" (func $new)) (export "method" (func $method)) (export "static" (func $static)) (export "both" (func $both))))))
  (func (export "session") (param "cart" u32) (result u32) (canon lift (core func $i "session")))
  (func (export "number") (param "cart" u32) (result u32) (canon lift (core func $i "number")))
  (func (export "numbers") (param "cart" u32) (result u32) (canon lift (core func $i "numbers"))))
