// A component that is called with values, of the draft 0.2.0-draft2.
include!("../../canonical.rs");
include!("functions.rs");
include!("draft2.rs");
include!("program.rs");
include!("export.rs");
