"""A tally and its notes, in Python: variables of a module."""

from componentize_py_types import Err
from wit_world import exports

total = 0
texts = []


class Tallies(exports.Tallies):
    def add(self, number):
        global total
        total += number
        return total

    def sum(self):
        return total

    def note(self, text):
        if not text:
            raise Err("a note has to say something")
        texts.append(text)
        print("noted:", text, flush=True)
        return len(texts)

    def notes(self):
        return texts

    def fail(self, number):
        self.add(number)
        raise RuntimeError("this is not to be kept")
