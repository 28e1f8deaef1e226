// What components by the canonical ABI alone share: texts and lists are an address and a length, and a result is written to an
// address that comes last.

use std::alloc::{alloc, realloc, Layout};

/// Where the host puts what it passes.
///
/// # Safety
///
/// What is old came from here.
#[no_mangle]
pub unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    match (old_size, size) {
        (_, 0) => align as *mut u8,
        (0, _) => alloc(Layout::from_size_align(size, align).unwrap()),
        _ => realloc(old, Layout::from_size_align(old_size, align).unwrap(), size),
    }
}

/// An address and a length.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    pub at: *const u8,
    pub len: usize,
}

impl Slice {
    pub fn of(bytes: &[u8]) -> Self {
        Slice { at: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes that the host has put there, which are the guest's own now.
    pub fn taken(self) -> Vec<u8> {
        if self.len == 0 {
            return Vec::new();
        }
        unsafe { Vec::from_raw_parts(self.at as *mut u8, self.len, self.len) }
    }

    pub fn text(self) -> String {
        String::from_utf8(self.taken()).unwrap()
    }
}

/// Words of the largest result that any guest here is given: errors of `wasi:http`.
const WORDS: usize = 16;

/// A result as it is written: words of 32 bits, aligned as the widest of them is.
#[repr(C, align(8))]
pub struct Written(pub [u32; WORDS]);

impl Written {
    pub fn new() -> Self {
        Written([0; WORDS])
    }

    /// A byte of a word: discriminants and truth values, beside which nothing is written.
    pub fn byte(&self, word: usize) -> u32 {
        self.0[word] & 0xff
    }

    pub fn slice(&self, word: usize) -> Slice {
        Slice { at: self.0[word] as *const u8, len: self.0[word + 1] as usize }
    }

    pub fn long(&self, word: usize) -> u64 {
        u64::from(self.0[word]) | u64::from(self.0[word + 1]) << 32
    }
}
