// A component that is a program: its arguments are the script, and the answer is its standard output.
include!("../../canonical.rs");
include!("../../canonical_streams.rs");
include!("../../canonical_program.rs");
include!("functions.rs");
include!("draft2.rs");
include!("program.rs");

#[export_name = "wasi:cli/run@0.2.12#run"]
pub extern "C" fn export_run() -> u32 {
    // A call's one argument is its operation, which may have lines; the first of several is the program's name.
    let mut script = arguments();
    if script.len() > 1 {
        script.remove(0);
    }
    print(run(&script.join("\n")).as_bytes());
    0
}
