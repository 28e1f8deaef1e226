// A request for a path of a host, which are the last words of a text: status and body, or the number of the error among those that WASI
// has. It keeps no handle.

#[link(wasm_import_module = "wasi:io/streams@0.2.12")]
extern "C" {
    #[link_name = "[method]input-stream.blocking-read"]
    fn read(stream: u32, most: u64, out: *mut Written);
    #[link_name = "[resource-drop]input-stream"]
    fn drop_input(stream: u32);
}

#[link(wasm_import_module = "wasi:io/poll@0.2.12")]
extern "C" {
    #[link_name = "[method]pollable.block"]
    fn block(pollable: u32);
    #[link_name = "[resource-drop]pollable"]
    fn drop_pollable(pollable: u32);
}

#[link(wasm_import_module = "wasi:io/error@0.2.12")]
extern "C" {
    #[link_name = "[resource-drop]error"]
    fn drop_error(error: u32);
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
    #[link_name = "[resource-drop]future-incoming-response"]
    fn drop_future(future: u32);
    #[link_name = "[method]incoming-response.status"]
    fn status(response: u32) -> u32;
    #[link_name = "[method]incoming-response.consume"]
    fn consume(response: u32, out: *mut Written);
    #[link_name = "[resource-drop]incoming-response"]
    fn drop_response(response: u32);
    #[link_name = "[method]incoming-body.stream"]
    fn stream(body: u32, out: *mut Written);
    #[link_name = "[resource-drop]incoming-body"]
    fn drop_body(body: u32);
}

#[link(wasm_import_module = "wasi:http/outgoing-handler@0.2.12")]
extern "C" {
    #[link_name = "handle"]
    fn handle(request: u32, some: u32, options: u32, out: *mut Written);
}

/// The scheme `http` among those that WASI has.
const HTTP: u32 = 0;
/// Most bytes of a body that are read at once.
const MOST: u64 = 4096;

fn run(told: &str) -> String {
    let mut words = told.split(' ').rev();
    let (path, host) = match (words.next(), words.next()) {
        (Some(path), Some(host)) => (path, host),
        _ => panic!("a host and a path are told"),
    };
    unsafe {
        let asked = request(fields());
        set_scheme(asked, 1, HTTP, std::ptr::null(), 0);
        set_authority(asked, 1, host.as_ptr(), host.len());
        set_path(asked, 1, path.as_ptr(), path.len());
        match answer(asked) {
            Ok(response) => whole(response),
            Err(code) => format!("error {code}\n"),
        }
    }
}

/// The response, or the number of the error.
unsafe fn answer(asked: u32) -> Result<u32, u32> {
    let mut out = Written::new();
    handle(asked, 0, 0, &mut out);
    if out.byte(0) == 1 {
        return Err(out.byte(2));
    }
    let future = out.0[2];
    let pollable = subscribe(future);
    block(pollable);
    drop_pollable(pollable);
    get(future, &mut out);
    drop_future(future);
    // There is one, it was not taken before, and it is a response.
    match (out.byte(0), out.byte(2), out.byte(4)) {
        (1, 0, 0) => Ok(out.0[6]),
        _ => Err(out.byte(6)),
    }
}

/// Status and body of a response, or as much of that as came.
unsafe fn whole(response: u32) -> String {
    let mut out = Written::new();
    let status = status(response);
    consume(response, &mut out);
    let body = out.0[1];
    stream(body, &mut out);
    let stream = out.0[1];
    let mut bytes = Vec::new();
    loop {
        read(stream, MOST, &mut out);
        // What is no error is a piece. The error is one that has a handle, or the end.
        if out.byte(0) == 1 {
            if out.byte(1) == 0 {
                drop_error(out.0[2]);
            }
            break;
        }
        bytes.extend(out.slice(1).taken());
    }
    drop_input(stream);
    drop_body(body);
    drop_response(response);
    format!("{status}\n{}\n", String::from_utf8_lossy(&bytes))
}
