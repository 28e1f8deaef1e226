// A program that asks a host for a path, both of which are its last arguments, and prints the status and the body. With an error it
// prints the error's number.
include!("../../canonical.rs");
include!("../../canonical_streams.rs");
include!("../../canonical_program.rs");

#[link(wasm_import_module = "wasi:io/streams@0.2.12")]
extern "C" {
    #[link_name = "[method]input-stream.blocking-read"]
    fn read(stream: u32, most: u64, out: *mut Written);
}

#[link(wasm_import_module = "wasi:io/poll@0.2.12")]
extern "C" {
    #[link_name = "[method]pollable.block"]
    fn block(pollable: u32);
}

#[link(wasm_import_module = "wasi:http/types@0.2.12")]
extern "C" {
    #[link_name = "[constructor]fields"]
    fn fields() -> u32;
    #[link_name = "[constructor]outgoing-request"]
    fn request(fields: u32) -> u32;
    #[link_name = "[method]outgoing-request.set-scheme"]
    fn set_scheme(request: u32, some: u32, scheme: u32, text: *const u8, len: usize) -> u32;
    #[link_name = "[method]outgoing-request.set-authority"]
    fn set_authority(request: u32, some: u32, text: *const u8, len: usize) -> u32;
    #[link_name = "[method]outgoing-request.set-path-with-query"]
    fn set_path(request: u32, some: u32, text: *const u8, len: usize) -> u32;
    #[link_name = "[method]future-incoming-response.subscribe"]
    fn subscribe(future: u32) -> u32;
    #[link_name = "[method]future-incoming-response.get"]
    fn get(future: u32, out: *mut Written);
    #[link_name = "[method]incoming-response.status"]
    fn status(response: u32) -> u32;
    #[link_name = "[method]incoming-response.consume"]
    fn consume(response: u32, out: *mut Written);
    #[link_name = "[method]incoming-body.stream"]
    fn stream(body: u32, out: *mut Written);
}

#[link(wasm_import_module = "wasi:http/outgoing-handler@0.2.12")]
extern "C" {
    #[link_name = "handle"]
    fn handle(request: u32, some: u32, options: u32, out: *mut Written);
}

/// The scheme `http` among those that WASI has.
const HTTP: u32 = 0;

#[export_name = "wasi:cli/run@0.2.12#run"]
pub unsafe extern "C" fn export_run() -> u32 {
    let arguments = arguments();
    let [host, path] = match arguments.as_slice() {
        [.., host, path] => [host, path],
        _ => panic!("a host and a path are told"),
    };
    let asked = request(fields());
    set_scheme(asked, 1, HTTP, std::ptr::null(), 0);
    set_authority(asked, 1, host.as_ptr(), host.len());
    set_path(asked, 1, path.as_ptr(), path.len());
    match answer(asked) {
        Ok(response) => respond(response),
        Err(code) => print(format!("error {code}\n").as_bytes()),
    }
    0
}

/// The response, or the number of the error among those that WASI has.
unsafe fn answer(asked: u32) -> Result<u32, u32> {
    let mut out = Written::new();
    handle(asked, 0, 0, &mut out);
    if out.byte(0) == 1 {
        return Err(out.byte(2));
    }
    let future = out.0[2];
    block(subscribe(future));
    get(future, &mut out);
    // There is one, it was not taken before, and it is a response.
    match (out.byte(0), out.byte(2), out.byte(4)) {
        (1, 0, 0) => Ok(out.0[6]),
        _ => Err(out.byte(6)),
    }
}

unsafe fn respond(response: u32) {
    let mut out = Written::new();
    print(format!("{}\n", status(response)).as_bytes());
    consume(response, &mut out);
    let body = out.0[1];
    stream(body, &mut out);
    let stream = out.0[1];
    loop {
        read(stream, PIECE as u64, &mut out);
        // What is no error is a piece.
        if out.byte(0) == 1 {
            return print(b"\n");
        }
        print(&out.slice(1).taken());
    }
}
