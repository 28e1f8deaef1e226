// The program of guests/surroundings, as a component.
include!("realloc.rs");
include!("../../surroundings/rust/surroundings.rs");
