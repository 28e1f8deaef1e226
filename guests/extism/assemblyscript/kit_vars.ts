// Variables, configuration and lines, as the plug-ins in ../kit have them.
import { Config, Host, LogLevel, Var } from "@extism/as-pdk";
import { answer, bytes, fail } from "./kit";

export function abort(message: string | null, _file: string | null, _line: u32, _column: u32): void {
  fail(message ? message : "aborted");
}

// Keeps `name=value`, and says what there was.
export function set(): i32 {
  const text = Host.inputString();
  const at = text.indexOf("=");
  if (at < 0) {
    fail("NAME=VALUE");
    return -1;
  }
  const before = Var.getString(text.slice(0, at));
  Var.set(text.slice(0, at), bytes(text.slice(at + 1)));
  answer(before ? before : "nothing");
  return 0;
}

export function get(): i32 {
  const value = Var.get(Host.inputString());
  Host.output(value ? value : bytes("nothing"));
  return 0;
}

export function remove(): i32 {
  Var.remove(Host.inputString());
  return 0;
}

// Keeps bytes as they are under one name.
export function keep(): i32 {
  Var.set("bytes", Host.input());
  return 0;
}

// So many variables, and how many of them it finds again.
export function fill(): i32 {
  const names = I32.parseInt(Host.inputString());
  for (let number = 0; number < names; number++) Var.set(`var ${number}`, bytes(number.toString()));
  let found = 0;
  for (let number = 0; number < names; number++) {
    if (Var.getString(`var ${number}`) == number.toString()) found++;
  }
  answer(found.toString());
  return 0;
}

export function configured(): i32 {
  const value = Config.get(Host.inputString());
  answer(value ? value : "nothing");
  return 0;
}

export function each(): i32 {
  const text = Host.inputString();
  Host.log(LogLevel.Debug, `at debug: ${text}`);
  Host.log(LogLevel.Info, `at info: ${text}`);
  Host.log(LogLevel.Warn, `at warn: ${text}`);
  Host.log(LogLevel.Error, `at error: ${text}`);
  return 0;
}
