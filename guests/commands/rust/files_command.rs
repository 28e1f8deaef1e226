// Does with files what its arguments say, or ends as its first one says. A call has one argument alone, the operation: that
// is taken for all of them.

include!("realloc.rs");
include!("../../files.rs");

fn main() {
    let args: Vec<String> = match std::env::args().collect::<Vec<_>>().as_slice() {
        [operation] => operation.split(' ').map(String::from).collect(),
        args => args.iter().skip(1).cloned().collect(),
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        // WASI 0.2 knows success and failure alone.
        ["exit", code] => std::process::exit(code.parse().expect("a number")),
        ["panic"] => panic!("asked to"),
        ["loop"] => loop {
            std::thread::yield_now();
        },
        ["cat"] => {
            let copied = io::copy(&mut io::stdin(), &mut io::stdout()).expect("both are there");
            eprintln!("{} bytes", copied);
        }
        args => println!("{}", said(args)),
    }
}
