// Assembles all WAT files of a folder into another: node assemble.js WABT SOURCE OUT. What is invalid on purpose says so, and
// is not checked.
const { readFileSync, readdirSync, writeFileSync } = require("fs");
const [library, source, out] = process.argv.slice(2);
const fail = (error) => {
  console.error(error.message);
  process.exit(1);
};

require(library)()
  .then((wabt) => {
    for (const file of readdirSync(source).filter((name) => name.endsWith(".wat"))) {
      const text = readFileSync(`${source}/${file}`, "utf8");
      const module = wabt.parseWat(file, text, { memory64: true });
      if (!text.includes("Invalid on purpose")) module.validate();
      writeFileSync(`${out}/${file.replace(/wat$/, "wasm")}`, module.toBinary({ write_debug_names: true }).buffer);
    }
  })
  .catch(fail);
