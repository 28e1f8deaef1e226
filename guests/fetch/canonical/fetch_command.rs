// A component that is a program: its last two arguments are a host and a path, or those are the words of the last one. It prints what the
// host answers.
include!("../../canonical.rs");
include!("../../canonical_streams.rs");
include!("../../canonical_program.rs");
include!("request.rs");

#[export_name = "wasi:cli/run@0.2.12#run"]
pub extern "C" fn export_run() -> u32 {
    print(run(&arguments().join(" ")).as_bytes());
    0
}
