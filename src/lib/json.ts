/** JSON with sorted keys, so that equal values have equal text: registries, hashes, manifests. */
export function canonicalJson(value: unknown, indent?: number): string {
  return JSON.stringify(sorted(value), null, indent);
}

function sorted(v: unknown): unknown {
  if (typeof v === 'bigint') return v.toString();
  if (Array.isArray(v)) return v.map(sorted);
  if (v && typeof v === 'object') {
    const out: Record<string, unknown> = {};
    for (const k of Object.keys(v).sort()) {
      const x = (v as Record<string, unknown>)[k];
      if (x !== undefined) out[k] = sorted(x);
    }
    return out;
  }
  return v;
}

/** Plain JSON text; int64 values go out as strings, since a JSON number would lose units in most readers. */
export const toJson = (value: unknown, indent?: number): string => JSON.stringify(value, (_k, v) => (typeof v === 'bigint' ? v.toString() : v), indent);
