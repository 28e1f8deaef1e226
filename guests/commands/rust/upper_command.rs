// The program of guests/upper, as a component.
include!("realloc.rs");
include!("../../upper/rust/upper.rs");
