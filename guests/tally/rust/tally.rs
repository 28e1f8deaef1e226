// A tally and its notes, in variables of the program: what an actor keeps.
#![allow(static_mut_refs)]
include!("../../canonical.rs");

static mut SUM: i64 = 0;
static mut NOTES: Vec<String> = Vec::new();

#[export_name = "docs:tally/tallies@1.0.0#add"]
pub extern "C" fn add(number: i64) -> i64 {
    unsafe {
        SUM += number;
        SUM
    }
}

#[export_name = "docs:tally/tallies@1.0.0#sum"]
pub extern "C" fn sum() -> i64 {
    unsafe { SUM }
}

/// A number, or a text that says why there is none.
#[repr(C)]
pub struct Outcome {
    failed: u32,
    number_or_at: usize,
    len: usize,
}

/// # Safety
///
/// The host has put a text there for this call.
#[export_name = "docs:tally/tallies@1.0.0#note"]
pub unsafe extern "C" fn note(at: *const u8, len: usize) -> *mut Outcome {
    let text = Slice { at, len }.text();
    let outcome = if text.is_empty() {
        let why = "a note has to say something";
        Outcome { failed: 1, number_or_at: why.as_ptr() as usize, len: why.len() }
    } else {
        println!("noted: {text}");
        NOTES.push(text);
        Outcome { failed: 0, number_or_at: NOTES.len(), len: 0 }
    };
    Box::into_raw(Box::new(outcome))
}

/// # Safety
///
/// What the call before has returned.
#[export_name = "cabi_post_docs:tally/tallies@1.0.0#note"]
pub unsafe extern "C" fn post_note(outcome: *mut Outcome) {
    drop(Box::from_raw(outcome));
}

#[export_name = "docs:tally/tallies@1.0.0#notes"]
pub extern "C" fn notes() -> *mut Slice {
    let texts: Vec<Slice> = unsafe { NOTES.iter().map(|note| Slice::of(note.as_bytes())).collect() };
    let texts = Box::leak(texts.into_boxed_slice());
    Box::into_raw(Box::new(Slice { at: texts.as_ptr().cast(), len: texts.len() }))
}

/// # Safety
///
/// What the call before has returned.
#[export_name = "cabi_post_docs:tally/tallies@1.0.0#notes"]
pub unsafe extern "C" fn post_notes(all: *mut Slice) {
    let all = Box::from_raw(all);
    if all.len > 0 {
        drop(Vec::from_raw_parts(all.at as *mut Slice, all.len, all.len));
    }
}

#[export_name = "docs:tally/tallies@1.0.0#fail"]
pub extern "C" fn fail(number: i64) {
    add(number);
    std::process::abort();
}
