// A basket, in JavaScript: records, variants and results.
export const baskets = {
  total(items, each, less) {
    if (items.length === 0) throw 'the basket is empty';
    const total = items.reduce((sum, item) => sum + item.amount, 0) * each;
    if (less.tag === 'percent') return BigInt(Math.floor((total * (100 - less.val)) / 100));
    if (less.tag === 'gift') return BigInt(total - less.val.amount * each);
    return BigInt(total);
  },
  sorted(items) {
    return items.sort((one, other) => (one.name < other.name ? -1 : 1));
  },
};
