// A cart, which is a resource of the host's.

#[link(wasm_import_module = "docs:shop/carts@1.0.0")]
extern "C" {
    #[link_name = "[constructor]cart"]
    fn new_cart(owner: *const u8, len: usize) -> u32;
    #[link_name = "[method]cart.add"]
    fn add(cart: u32, item: *const u8, len: usize) -> u32;
    #[link_name = "[resource-drop]cart"]
    fn drop_cart(cart: u32);
}

/// Ada's, with two things in it: its handle, and how many the host says there are.
fn filled() -> (u32, u32) {
    let owner = "Ada";
    unsafe {
        let cart = new_cart(owner.as_ptr(), owner.len());
        let counts = ["tea", "ink"].map(|item| add(cart, item.as_ptr(), item.len()));
        (cart, counts[1])
    }
}

/// How many there are in one that is given back.
fn two() -> u32 {
    let (cart, count) = filled();
    unsafe { drop_cart(cart) };
    count
}
