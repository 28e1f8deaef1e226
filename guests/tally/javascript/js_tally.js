// A tally and its notes, in JavaScript: variables of a module.
let total = 0n;
const texts = [];

export const tallies = {
  add(number) {
    total += number;
    return total;
  },
  sum() {
    return total;
  },
  note(text) {
    if (text === '') throw 'a note has to say something';
    texts.push(text);
    console.log(`noted: ${text}`);
    return texts.length;
  },
  notes() {
    return texts;
  },
  fail(number) {
    total += number;
    throw new Error('this is not to be kept');
  },
};
