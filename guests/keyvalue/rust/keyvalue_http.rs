// A component that handles requests: the path is the script, and the answer is the body. Without one it counts who asks.
include!("../../canonical.rs");
include!("../../canonical_streams.rs");
include!("functions.rs");
include!("draft2.rs");
include!("program.rs");

#[link(wasm_import_module = "wasi:http/types@0.2.12")]
extern "C" {
    #[link_name = "[method]incoming-request.path-with-query"]
    fn path_with_query(request: u32, out: *mut Written);
    #[link_name = "[constructor]fields"]
    fn fields() -> u32;
    #[link_name = "[constructor]outgoing-response"]
    fn response(fields: u32) -> u32;
    #[link_name = "[method]outgoing-response.body"]
    fn body(response: u32, out: *mut Written);
    #[link_name = "[method]outgoing-body.write"]
    fn stream(body: u32, out: *mut Written);
    #[link_name = "[static]outgoing-body.finish"]
    fn finish(body: u32, has_trailers: u32, trailers: u32, out: *mut [u64; 8]);
    #[link_name = "[static]response-outparam.set"]
    fn set_response(out: u32, is_error: u32, response: u32, a: u32, b: u64, c: u32, d: u32, e: u32, f: u32);
}

/// The script of who says none.
const COUNT: &str = "open visits\nadd home 1";

/// # Safety
///
/// Both are handles that the host has given to this call.
#[export_name = "wasi:http/incoming-handler@0.2.12#handle"]
pub unsafe extern "C" fn export_handle(request: u32, out: u32) {
    let mut written = Written::new();
    path_with_query(request, &mut written);
    let path = if written.byte(0) == 1 { written.slice(1).text() } else { String::new() };
    let script = match path.trim_start_matches('/') {
        "" => COUNT.to_string(),
        path => path.replace('/', "\n").replace('+', " "),
    };
    let answer = run(&script);
    let response = response(fields());
    body(response, &mut written);
    let body = written.0[1];
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
    stream(body, &mut written);
    write_last(written.0[1], answer.as_bytes());
    finish(body, 0, 0, &mut [0; 8]);
}
