//! The functions of the host's that plug-ins are given, each told by what it gets.

use extism::{CurrentPlugin, Error, Function, PTR, UserData, Val, ValType};

type Answer = fn(&mut CurrentPlugin, &[Val], &mut [Val]) -> Result<(), Error>;

/// All of them. Those that a plug-in does not import are not looked at.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("tide", &[PTR], &[PTR], tide),
        function("route", &[PTR, PTR], &[PTR], route),
        function("note", &[PTR], &[], note),
        function("noon", &[], &[PTR], noon),
        // Of the tests of the crate `extism-pdk`.
        function("hello_world", &[PTR], &[PTR], same),
        function("scaled", &[ValType::I32, ValType::F64], &[ValType::F64], scaled).with_namespace("gauge"),
    ]
}

fn function(name: &str, params: &[ValType], results: &[ValType], answer: Answer) -> Function {
    let call = move |plugin: &mut CurrentPlugin, inputs: &[Val], outputs: &mut [Val], _data: UserData<()>| {
        answer(plugin, inputs, outputs)
    };
    Function::new(name, params.to_vec(), results.to_vec(), UserData::new(()), call)
}

/// Tells of a harbour how long its name is, and fails where that begins with `dry`.
fn tide(plugin: &mut CurrentPlugin, inputs: &[Val], outputs: &mut [Val]) -> Result<(), Error> {
    let harbour: String = plugin.memory_get_val(&inputs[0])?;
    if harbour.starts_with("dry") {
        return Err(Error::msg(format!("the gauge of {harbour} is dry")));
    }
    told(plugin, &format!("{harbour} has {} bytes", harbour.len()), outputs)
}

fn route(plugin: &mut CurrentPlugin, inputs: &[Val], outputs: &mut [Val]) -> Result<(), Error> {
    let from: String = plugin.memory_get_val(&inputs[0])?;
    let to: String = plugin.memory_get_val(&inputs[1])?;
    told(plugin, &format!("from {from} to {to}"), outputs)
}

/// Fails of what begins with `no`.
fn note(plugin: &mut CurrentPlugin, inputs: &[Val], _outputs: &mut [Val]) -> Result<(), Error> {
    let text: String = plugin.memory_get_val(&inputs[0])?;
    if text.starts_with("no") { Err(Error::msg("it is not noted")) } else { Ok(()) }
}

fn noon(plugin: &mut CurrentPlugin, _inputs: &[Val], outputs: &mut [Val]) -> Result<(), Error> {
    told(plugin, "12:00", outputs)
}

fn same(plugin: &mut CurrentPlugin, inputs: &[Val], outputs: &mut [Val]) -> Result<(), Error> {
    let text: String = plugin.memory_get_val(&inputs[0])?;
    told(plugin, &text, outputs)
}

fn scaled(_plugin: &mut CurrentPlugin, inputs: &[Val], outputs: &mut [Val]) -> Result<(), Error> {
    let (Some(steps), Some(step)) = (inputs[0].i32(), inputs[1].f64()) else {
        return Err(Error::msg("a number of steps, and how high one is"));
    };
    outputs[0] = Val::F64((f64::from(steps) * step).to_bits());
    Ok(())
}

fn told(plugin: &mut CurrentPlugin, text: &str, outputs: &mut [Val]) -> Result<(), Error> {
    let block = plugin.memory_new(text)?;
    outputs[0] = plugin.memory_to_val(block);
    Ok(())
}
