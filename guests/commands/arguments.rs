// What a program is told to do, by its arguments. A call has one argument alone, the operation: that is taken for all of them.

fn told() -> Vec<String> {
    match wasi::cli::environment::get_arguments().as_slice() {
        [operation] => operation.split(' ').map(String::from).collect(),
        args => args.iter().skip(1).cloned().collect(),
    }
}
