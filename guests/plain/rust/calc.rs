//! A library as Rust makes it without further ado: functions of numbers, exported by their names.
#![no_main]

/// The sum.
#[no_mangle]
pub extern "C" fn add(one: i32, other: i32) -> i32 {
    one.wrapping_add(other)
}

/// The mean of three.
#[no_mangle]
pub extern "C" fn mean(a: f64, b: f64, c: f64) -> f64 {
    (a + b + c) / 3.0
}

/// How many steps a number takes to come to 1: halved when it is even, else tripled, and one added.
#[no_mangle]
pub extern "C" fn collatz(mut number: u64) -> u32 {
    let mut steps = 0;
    while number > 1 {
        number = if number & 1 == 0 { number / 2 } else { 3 * number + 1 };
        steps += 1;
    }
    steps
}
