//! What the simulation has of the system: chance, clocks, waiting, and flushes of files. The functions of the C library that these come
//! from are defined here once more, and so they are those of the whole program, whichever crate calls them: the standard library, tokio,
//! SQLite. On a thread that simulates, nothing that they say is of the machine. On any other they do what they always do.
//!
//! So log, state, openraft and tokio run as they are built for a node: there is no clock, no runtime and no disk for tests in them.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{epoll_event, off64_t, size_t, ssize_t, timespec};

use super::disk;

/// The time at which all clocks begin, in ns since they were at 0. What counts back from it is still one.
pub(super) const START: u64 = 1_000_000_000_000;
/// 2026-01-01, in s.
const EPOCH: i64 = 1_767_225_600;
const NS: u64 = 1_000_000_000;
const NS_OF_MS: u64 = 1_000_000;

thread_local! {
    static IS_SIMULATED: Cell<bool> = const { Cell::new(false) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
    static NOW: Cell<u64> = const { Cell::new(START) };
    static WAITS: Cell<u64> = const { Cell::new(0) };
}

/// Has this thread be simulated from now on.
pub(super) fn begin(seed: u64) {
    CHANCE.set(seed);
    IS_SIMULATED.set(true);
}

/// The time by the clock of whoever runs.
pub(super) fn now() -> u64 {
    NOW.get()
}

/// Another runs, whose clock is at that.
pub(super) fn set_now(now: u64) {
    NOW.set(now);
}

/// How often somebody has waited for a timer.
pub(super) fn waits() -> u64 {
    WAITS.get()
}

fn is_simulated() -> bool {
    IS_SIMULATED.get()
}

/// The next number of a sequence that a seed begins: splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
/// 2014).
fn chance() -> u64 {
    let state = CHANCE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    CHANCE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// # Safety
/// There are so many bytes.
unsafe fn fill(buffer: *mut u8, length: usize) {
    for at in 0..length {
        // SAFETY: it is one of these bytes.
        unsafe { buffer.add(at).write(chance().to_le_bytes()[0]) };
    }
}

type Syscall = unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

/// The C library's own `syscall`, by which all others are had. It takes its arguments in registers, however many there are.
fn system() -> Syscall {
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let mut found = FOUND.load(Ordering::Relaxed);
    if found.is_null() {
        // SAFETY: the name is one.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()) };
        assert!(!found.is_null(), "the C library has it");
        FOUND.store(found, Ordering::Relaxed);
    }
    // SAFETY: it is that function.
    unsafe { std::mem::transmute::<*mut c_void, Syscall>(found) }
}

/// # Safety
/// As the system call of this number asks for.
unsafe fn call(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    // SAFETY: the same is asked of who calls.
    unsafe { system()(number, a, b, c, d, e, f) }
}

// SAFETY, of this and all below: they are what the C library says of its own.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if number == libc::SYS_getrandom && is_simulated() {
        // SAFETY: who calls says so.
        unsafe { fill(a as usize as *mut u8, b as usize) };
        return b;
    }
    // SAFETY: who calls says so.
    unsafe { call(number, [a, b, c, d, e, f]) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    if is_simulated() {
        // SAFETY: who calls says so.
        unsafe { fill(buffer.cast(), length) };
        return length.cast_signed();
    }
    // SAFETY: who calls says so.
    unsafe { call(libc::SYS_getrandom, [buffer as c_long, length as c_long, flags.into(), 0, 0, 0]) as ssize_t }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut timespec) -> c_int {
    if is_simulated() {
        let seconds = (NOW.get() / NS).cast_signed();
        let since = if clock == libc::CLOCK_REALTIME { EPOCH } else { 0 };
        let told = timespec { tv_sec: seconds + since, tv_nsec: (NOW.get() % NS).cast_signed() };
        // SAFETY: who calls says so.
        unsafe { time.write(told) };
        return 0;
    }
    // SAFETY: who calls says so.
    unsafe { call(libc::SYS_clock_gettime, [clock.into(), time as c_long, 0, 0, 0, 0]) as c_int }
}

/// Who waits has nothing else to do: it is as late as it waits for, at once.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(queue: c_int, events: *mut epoll_event, most: c_int, timeout_ms: c_int) -> c_int {
    let waits = |timeout: c_int| {
        let arguments = [queue.into(), events as c_long, most.into(), timeout.into(), 0, 8];
        // SAFETY: who calls says so.
        unsafe { call(libc::SYS_epoll_pwait, arguments) as c_int }
    };
    if !is_simulated() {
        return waits(timeout_ms);
    }
    let found = waits(0);
    if found == 0 && timeout_ms != 0 {
        let Ok(timeout_ms) = u64::try_from(timeout_ms) else {
            eprintln!("somebody waits, and nobody will ever wake them");
            std::process::abort();
        };
        NOW.set(NOW.get() + timeout_ms * NS_OF_MS);
        WAITS.set(WAITS.get() + 1);
    }
    found
}

/// What a function says that fails for this reason.
fn fails(why: c_int) -> c_int {
    // SAFETY: it is this thread's.
    unsafe { libc::__errno_location().write(why) };
    -1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    if is_simulated() {
        return if disk::flushes(file) { 0 } else { fails(libc::EIO) };
    }
    // SAFETY: it takes any number.
    unsafe { call(libc::SYS_fsync, [file.into(), 0, 0, 0, 0, 0]) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    if is_simulated() {
        return if disk::flushes(file) { 0 } else { fails(libc::EIO) };
    }
    // SAFETY: it takes any number.
    unsafe { call(libc::SYS_fdatasync, [file.into(), 0, 0, 0, 0, 0]) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(file: c_int, bytes: *const c_void, length: size_t, at: off64_t) -> ssize_t {
    if is_simulated() && !disk::changes(file, at.cast_unsigned(), at.cast_unsigned() + length as u64) {
        return fails(libc::ENOSPC) as ssize_t;
    }
    // SAFETY: who calls says so.
    unsafe { call(libc::SYS_pwrite64, [file.into(), bytes as c_long, length as c_long, at, 0, 0]) as ssize_t }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(file: c_int, bytes: *const c_void, length: size_t, at: off64_t) -> ssize_t {
    // SAFETY: who calls says so.
    unsafe { pwrite64(file, bytes, length, at) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(file: c_int, length: off64_t) -> c_int {
    if is_simulated() {
        disk::changes(file, length.cast_unsigned(), disk::CUT);
    }
    // SAFETY: it takes any numbers.
    unsafe { call(libc::SYS_ftruncate, [file.into(), length, 0, 0, 0, 0]) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(file: c_int, length: off64_t) -> c_int {
    // SAFETY: it takes any numbers.
    unsafe { ftruncate64(file, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    if is_simulated() {
        // SAFETY: who calls says that it is a string.
        disk::removed(unsafe { std::ffi::CStr::from_ptr(path) });
    }
    // SAFETY: who calls says so.
    unsafe { call(libc::SYS_unlinkat, [libc::AT_FDCWD.into(), path as c_long, 0, 0, 0, 0]) as c_int }
}
