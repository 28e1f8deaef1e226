// A component that handles requests: the status says how many things are in a cart.
include!("../canonical.rs");
include!("cart.rs");

#[link(wasm_import_module = "wasi:http/types@0.2.12")]
extern "C" {
    #[link_name = "[constructor]fields"]
    fn fields() -> u32;
    #[link_name = "[constructor]outgoing-response"]
    fn response(fields: u32) -> u32;
    #[link_name = "[method]outgoing-response.set-status-code"]
    fn set_status(response: u32, status: u32) -> u32;
    #[link_name = "[static]response-outparam.set"]
    fn set_response(out: u32, is_error: u32, response: u32, a: u32, b: u64, c: u32, d: u32, e: u32, f: u32);
}

/// # Safety
///
/// Both are handles that the host has given to this call.
#[export_name = "wasi:http/incoming-handler@0.2.12#handle"]
pub unsafe extern "C" fn export_handle(_request: u32, out: u32) {
    let response = response(fields());
    set_status(response, 200 + two());
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
}
