// What the shop sells. The embeddings are small ones, written for this example: walking, clothing, camping, fire and light.
export interface Item {
  category: string;
  name: string;
  embedding: number[];
}

export const ITEMS: Record<string, Item> = {
  sku_01: { category: 'shoes', name: 'trail runner', embedding: [0.93, 0.76, 0.17, 0.11] },
  sku_02: { category: 'shoes', name: 'hiking boot', embedding: [0.96, 0.8, 0, 0] },
  sku_03: { category: 'shoes', name: 'approach shoe', embedding: [1, 0.74, 0.2, 0] },
  sku_04: { category: 'shoes', name: 'camp sandal', embedding: [0.89, 0.64, 0.11, 0.02] },
  sku_05: { category: 'jackets', name: 'rain shell', embedding: [0.28, 0.88, 0.15, 0.1] },
  sku_06: { category: 'jackets', name: 'down jacket', embedding: [0.46, 0.87, 0.27, 0] },
  sku_07: { category: 'jackets', name: 'fleece', embedding: [0.43, 0.86, 0.08, 0.09] },
  sku_08: { category: 'jackets', name: 'wind shirt', embedding: [0.33, 0.88, 0.32, 0.09] },
  sku_09: { category: 'tents', name: 'one-person tent', embedding: [0.15, 0.21, 0.96, 0.24] },
  sku_10: { category: 'tents', name: 'two-person tent', embedding: [0.13, 0.21, 1.0, 0.31] },
  sku_11: { category: 'tents', name: 'family tent', embedding: [0.29, 0.05, 0.92, 0.12] },
  sku_12: { category: 'tents', name: 'tarp', embedding: [0.11, 0, 0.9, 0.22] },
  sku_13: { category: 'stoves', name: 'gas burner', embedding: [0, 0.04, 0.66, 0.85] },
  sku_14: { category: 'stoves', name: 'wood stove', embedding: [0.08, 0, 0.66, 0.9] },
  sku_15: { category: 'stoves', name: 'alcohol stove', embedding: [0.05, 0, 0.81, 0.79] },
  sku_16: { category: 'stoves', name: 'cook set', embedding: [0.06, 0.08, 0.58, 0.97] },
  sku_17: { category: 'packs', name: 'day pack', embedding: [0.77, 0.22, 0.38, 0] },
  sku_18: { category: 'packs', name: 'trekking pack', embedding: [0.72, 0.31, 0.43, 0.06] },
  sku_19: { category: 'packs', name: 'climbing pack', embedding: [0.9, 0.31, 0.46, 0] },
  sku_20: { category: 'packs', name: 'dry bag', embedding: [0.81, 0.27, 0.41, 0.06] },
  sku_21: { category: 'lamps', name: 'headlamp', embedding: [0.17, 0.09, 0.49, 1] },
  sku_22: { category: 'lamps', name: 'lantern', embedding: [0.0, 0, 0.63, 1] },
  sku_23: { category: 'lamps', name: 'candle lantern', embedding: [0.06, 0.1, 0.61, 0.9] },
  sku_24: { category: 'lamps', name: 'torch', embedding: [0.06, 0, 0.5, 0.87] },
};
