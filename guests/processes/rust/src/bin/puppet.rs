//! Processes that do what an Elixir process tells them, and tell it what they hear: for tests of links and monitors.
//!
//! The first message says under which id the Elixir process is known. From then on a message is a command: a byte and two
//! numbers of 8 bytes. What a puppet tells is a byte and a number: that it is there, that it has done a command, that
//! a link has died, that a process has died.

use lunatic::host::api::{distributed, error, message, process, registry, timer};

#[link(wasm_import_module = "tidepool")]
extern "C" {
    fn put_name(name: *const u8, len: usize, node: u64, id: u64) -> u32;
    fn claim_name(name: *const u8, len: usize, node: u64, id: u64, owner_node: *mut u64, owner: *mut u64) -> u32;
    fn get_name(name: *const u8, len: usize, node: *mut u64, id: *mut u64) -> u32;
    fn remove_name(name: *const u8, len: usize) -> u32;
}

const FOR_EVER: u64 = u64::MAX;
const CALLERS_OWN: i64 = -1;
const NO_TAG: i64 = 0;
const ENTRY: &str = "puppet";
const NAME: &str = "somebody";
/// Bytes behind a command that make a message a large one.
const LARGE: usize = 4096;
/// The type byte of a parameter of 64 bits.
const I64: u8 = 0x7E;
/// `(module (import "lunatic::process" "process_id" (func (result i64))) (memory (export "memory") 1))`
const MODULE: &[u8] = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7e\x02\x1f\x01\x10lunatic::process\x0aprocess_id\0\0\
                        \x05\x03\x01\0\x01\x07\x0a\x01\x06memory\x02\0";

mod told {
    pub const HERE: u8 = 1;
    pub const DONE: u8 = 2;
    pub const LINK_DIED: u8 = 3;
    pub const PROCESS_DIED: u8 = 4;
}

fn main() {
    let mut id = [0; 8];
    // SAFETY: the host writes no more than the buffer has.
    unsafe {
        assert_eq!(message::receive(std::ptr::null(), 0, FOR_EVER), 0);
        message::read_data(id.as_mut_ptr(), id.len());
    }
    puppet(i64::from_le_bytes(id));
}

/// Obeys until a command, or somebody else, ends it.
#[export_name = "puppet"]
pub extern "C" fn puppet(master: i64) {
    // SAFETY: it takes no pointers.
    tell(master, told::HERE, unsafe { process::process_id() });
    loop {
        // SAFETY: no tags are read, for there are none.
        match unsafe { message::receive(std::ptr::null(), 0, FOR_EVER) } {
            0 => {
                if !obey(master) {
                    return;
                }
            }
            // SAFETY: a message was received.
            1 => tell(master, told::LINK_DIED, unsafe { message::get_tag() } as u64),
            // SAFETY: a message was received.
            _ => tell(master, told::PROCESS_DIED, unsafe { message::get_process_id() }),
        }
    }
}

/// Does what the message says that was received; false ends the process.
fn obey(master: i64) -> bool {
    let mut command = [0; 17];
    // SAFETY: the host writes no more than the buffer has.
    assert_eq!(unsafe { message::read_data(command.as_mut_ptr(), command.len()) }, command.len());
    let number = |at: usize| u64::from_le_bytes(command[at..at + 8].try_into().expect("8 bytes"));
    let (id, tag) = (number(1), number(9) as i64);
    // What may end this process, or is to be its last, is told before it is done.
    if matches!(command[0], b'R' | b'C' | b'K' | b'%') {
        tell(master, told::DONE, 0);
    }
    // SAFETY: none takes a pointer, and of who is unknown the host makes nothing.
    let done = unsafe {
        match command[0] {
            b'S' => spawn(master, tag).expect("a process"),
            b'L' => nothing(process::link(tag, id)),
            b'U' => nothing(process::unlink(id)),
            b'M' => nothing(process::monitor(id)),
            b'N' => nothing(process::stop_monitoring(id)),
            b'D' => nothing(process::die_when_link_dies(id as u32)),
            b'E' => process::exists(id) as u64,
            b'P' => id,
            b'R' => return false,
            b'T' => nothing(tell_after(master, id, tag)),
            b'B' => compile(),
            b'W' => nothing(process::sleep_ms(id)),
            b'F' => loop {
                tell(master, told::DONE, 0);
            },
            b'@' => loop {
                std::hint::spin_loop();
            },
            b'~' => loop {
                process::stop_monitoring(0);
            },
            b'A' => spawn_and_spawn(master),
            b'I' => distributed::node_id(),
            b'Q' => u64::from(distributed::nodes_count()),
            b'O' => distributed::module_id(),
            b'G' => spawn_on(id, distributed::module_id(), ENTRY, master),
            b'J' => spawn_on(id, tag as u64, ENTRY, master),
            b'H' => spawn_on(id, distributed::module_id(), "nothing", master),
            b'Y' => nothing(send(id, b'P', tag as u64, 0)),
            b'^' => nothing(println!("{id}")),
            b'V' => u64::from(send_by_node(tag as u64, id)),
            b'X' => nothing((0..tag as u64).for_each(|number| send(id, b'P', number, LARGE))),
            b'h' => nothing(send(id, b'P', 1, tag as usize)),
            b'+' => nothing(registry::put(NAME.as_ptr(), NAME.len(), tag as u64, id)),
            b'?' => find(),
            b'p' => u64::from(put_name(NAME.as_ptr(), NAME.len(), tag as u64, id)),
            b'c' => claim(id),
            b'g' => find_name(&name(id)),
            b'l' => nothing(send(id, b'g', 0, 0)),
            b'r' => u64::from(remove_name(name(id).as_ptr(), name(id).len())),
            b'f' => fill(id, tag as u64),
            b'Z' => nothing(send_later(id, tag as u64)),
            b'!' => nothing(send_many(id, tag as u64 >> 32, tag & 0xFFFF_FFFF)),
            b'=' => nothing((0..id).for_each(|_| receive(tag))),
            b'*' => nothing(receive_in_turn(id, tag)),
            b'C' => panic!("a command"),
            b'K' => {
                process::kill(id);
                return true;
            }
            // It waits next, and may drive whom it has woken.
            b'%' => {
                send(id, b'^', tag as u64, 0);
                return true;
            }
            other => panic!("{other} is no command"),
        }
    };
    tell(master, told::DONE, done);
    true
}

fn nothing(_: ()) -> u64 {
    0
}

/// Starts a puppet, linked if there is a tag: its number, or an error's handle.
fn spawn(master: i64, tag: i64) -> Result<u64, u64> {
    let mut parameters = [0; 17];
    parameters[0] = I64;
    parameters[1..9].copy_from_slice(&master.to_le_bytes());
    let mut id = 0;
    // SAFETY: all pointers are to what outlives the call, with its length.
    let failed = unsafe {
        process::spawn(
            tag,
            CALLERS_OWN,
            CALLERS_OWN,
            ENTRY.as_ptr(),
            ENTRY.len(),
            parameters.as_ptr(),
            parameters.len(),
            &mut id,
        )
    };
    if failed == 0 { Ok(id) } else { Err(id) }
}

/// Starts a puppet on a node: its number, or the code of the failure, from 2^63 on.
fn spawn_on(node: u64, module: u64, entry: &str, master: i64) -> u64 {
    let mut parameters = [0; 17];
    parameters[0] = I64;
    parameters[1..9].copy_from_slice(&master.to_le_bytes());
    let mut id = 0;
    // SAFETY: all pointers are to what outlives the call, with its length; and a failure's number is an error's handle.
    unsafe {
        let code = distributed::spawn(
            node,
            CALLERS_OWN,
            module,
            entry.as_ptr(),
            entry.len(),
            parameters.as_ptr(),
            parameters.len(),
            &mut id,
        );
        if code == 0 {
            return id;
        }
        error::drop(id);
        1 << 63 | code as u64
    }
}

/// The number of the process that has the name; 0 when none has, or its node's is not the one that it holds.
fn find() -> u64 {
    let (mut node, mut id) = (0, 0);
    // SAFETY: all pointers are to what outlives the call.
    let unknown = unsafe { registry::get(NAME.as_ptr(), NAME.len(), &mut node, &mut id) };
    let fits = id >> 44 == 0 || id >> 44 == node;
    if unknown == 0 && fits { id } else { 0 }
}

/// The name with this number; 0 is the one that all put.
fn name(number: u64) -> String {
    if number == 0 { NAME.to_string() } else { format!("{NAME} {number}") }
}

/// Claims a name for this process: its number if that has it, or else the owner's; the code of a failure from 2^63 on.
fn claim(number: u64) -> u64 {
    let (name, mut node, mut owner) = (name(number), 0, 0);
    // SAFETY: all pointers are to what outlives the call.
    unsafe {
        let (here, me) = (distributed::node_id(), process::process_id());
        match claim_name(name.as_ptr(), name.len(), here, me, &mut node, &mut owner) {
            0 => me,
            1 => owner,
            code => 1 << 63 | u64::from(code),
        }
    }
}

/// The number of the process that has this name on all nodes; 0 when none has, and the code of a failure from 2^63 on.
fn find_name(name: &str) -> u64 {
    let (mut node, mut id) = (0, 0);
    // SAFETY: all pointers are to what outlives the call.
    match unsafe { get_name(name.as_ptr(), name.len(), &mut node, &mut id) } {
        0 => id,
        1 => 0,
        code => 1 << 63 | u64::from(code),
    }
}

/// Puts so many names of a length for this process, but for those that fail: the last code.
fn fill(count: u64, len: u64) -> u64 {
    let mut code = 0;
    for number in 0..count {
        let name = format!("{number:0width$}", width = len as usize);
        // SAFETY: the name outlives the call.
        code = unsafe { put_name(name.as_ptr(), name.len(), distributed::node_id(), process::process_id()) };
    }
    u64::from(code)
}

/// Writes a command for another puppet, with so many bytes behind it.
fn write(command: u8, number: u64, more: usize) {
    let padding = [0; LARGE];
    // SAFETY: the bytes are there until the host has copied them.
    unsafe {
        message::create_data(NO_TAG, 32);
        message::write_data(&command, 1);
        message::write_data(number.to_le_bytes().as_ptr(), 8);
        message::write_data(padding.as_ptr(), 8);
        for at in (0..more).step_by(LARGE) {
            message::write_data(padding.as_ptr(), LARGE.min(more - at));
        }
    }
}

fn send(id: u64, command: u8, number: u64, more: usize) {
    write(command, number, more);
    // SAFETY: there is a message.
    unsafe { message::send(id) };
}

/// Sends so many large messages with a tag.
fn send_many(id: u64, count: u64, tag: i64) {
    let padding = [0; LARGE];
    for _ in 0..count {
        // SAFETY: the bytes are there until the host has copied them.
        unsafe {
            message::create_data(tag, LARGE as u64);
            message::write_data(padding.as_ptr(), LARGE);
            message::send(id);
        }
    }
}

/// Receives a message with this tag, or any if it is none, and drops it.
fn receive(tag: i64) {
    let count = usize::from(tag != NO_TAG);
    // SAFETY: the tag is there until the call has returned.
    unsafe { message::receive(&tag, count, FOR_EVER) };
}

/// Receives a message with a tag, so many others, and one with the next tag.
fn receive_in_turn(count: u64, tag: i64) {
    receive(tag);
    (0..count).for_each(|_| receive(NO_TAG));
    receive(tag + 1);
}

fn send_by_node(node: u64, id: u64) -> u32 {
    write(b'P', 1, 0);
    // SAFETY: there is a message.
    unsafe { distributed::send(node, id) }
}

fn send_later(id: u64, ms: u64) {
    write(b'P', ms, 0);
    // SAFETY: there is a message.
    unsafe { timer::send_after(id, ms) };
}

/// Compiles a module: 0, if that can be done.
fn compile() -> u64 {
    let mut module = 0;
    // SAFETY: both pointers are to what outlives the call.
    unsafe { process::compile_module(MODULE.as_ptr(), MODULE.len(), &mut module) as u64 }
}

/// Tells the master after so many ms that a command is done, with a number.
fn tell_after(master: i64, ms: u64, number: i64) {
    // SAFETY: the bytes are there until the host has copied them.
    unsafe {
        message::create_data(NO_TAG, 16);
        message::write_data(&told::DONE, 1);
        message::write_data(number.to_le_bytes().as_ptr(), 8);
        timer::send_after(master as u64, ms);
    }
}

/// Starts puppets for ever, whether that fails or not.
fn spawn_and_spawn(master: i64) -> ! {
    loop {
        if let Err(error) = spawn(master, NO_TAG) {
            // SAFETY: it is the handle of an error that was given just now.
            unsafe { error::drop(error) };
        }
    }
}

fn tell(master: i64, what: u8, number: u64) {
    // SAFETY: the bytes are there until the host has copied them.
    unsafe {
        message::create_data(NO_TAG, 16);
        message::write_data(&what, 1);
        message::write_data(number.to_le_bytes().as_ptr(), 8);
        message::send(master as u64);
    }
}
