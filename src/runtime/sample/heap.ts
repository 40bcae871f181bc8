/** A queue that gives the least `at` first, and equal ones in the order they came. */
export class Heap<T extends { at: number }> {
  #items: { item: T; seq: number }[] = [];
  #seq = 0;

  /** The least `at`, or infinity when empty. */
  get next(): number {
    return this.#items[0]?.item.at ?? Number.POSITIVE_INFINITY;
  }

  push(item: T): void {
    const items = this.#items;
    const entry = { item, seq: this.#seq++ };
    let i = items.length;
    items.push(entry);
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!before(entry, items[up]!)) break;
      items[i] = items[up]!;
      i = up;
    }
    items[i] = entry;
  }

  pop(): T | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (!top || !last) return undefined;
    if (items.length > 0) sink(items, last);
    return top.item;
  }
}

type Entry = { item: { at: number }; seq: number };
const before = (a: Entry, b: Entry): boolean => a.item.at < b.item.at || (a.item.at === b.item.at && a.seq < b.seq);

function sink<E extends Entry>(items: E[], entry: E): void {
  let i = 0;
  for (;;) {
    let child = 2 * i + 1;
    if (child >= items.length) break;
    if (child + 1 < items.length && before(items[child + 1]!, items[child]!)) child++;
    if (!before(items[child]!, entry)) break;
    items[i] = items[child]!;
    i = child;
  }
  items[i] = entry;
}
