"""A basket, in Python: records, variants and results."""

import wit_world
from componentize_py_types import Err
from wit_world.exports.baskets import Discount_Gift, Discount_Percent, Item


class Baskets(wit_world.exports.Baskets):
    def total(self, items, each, less):
        if not items:
            raise Err("the basket is empty")
        total = sum(item.amount for item in items) * each
        if isinstance(less, Discount_Percent):
            return total * (100 - less.value) // 100
        if isinstance(less, Discount_Gift):
            return total - less.value.amount * each
        return total

    def sorted(self, items):
        return sorted(items, key=lambda item: item.name)
