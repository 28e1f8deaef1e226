// A component that is a program: it fails unless there are two things in a cart.
include!("../canonical.rs");
include!("cart.rs");

#[export_name = "wasi:cli/run@0.2.12#run"]
pub extern "C" fn export_run() -> u32 {
    u32::from(two() != 2)
}
