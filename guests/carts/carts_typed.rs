// A component that is called with values: it says how many things are in a cart.
include!("../canonical.rs");
include!("cart.rs");

#[export_name = "two"]
pub extern "C" fn export_two() -> u32 {
    two()
}

/// The same, and the cart stays.
#[export_name = "keep"]
pub extern "C" fn export_keep() -> u32 {
    filled().1
}
