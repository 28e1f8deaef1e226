// A component: it exports the functions of the world in `wit/`, which is where their types are.
export function hello(name) {
  return `Hello, ${name}!`;
}
