// A component that is called with values: a host and a path, as the words of a text.
include!("../../canonical.rs");
include!("../../keyvalue/rust/export.rs");
include!("request.rs");
