/** Order in which features can be computed: inputs before what derives from them. */
import type { Feature } from '../define/feature.ts';
import { isDerived, isFeature } from './collect.ts';
import type { Problems } from './problems.ts';

/** By id within what the inputs allow, so that the order does not depend on that of the file. A cycle is a problem. */
export function topological(features: Set<Feature>, idOf: (f: Feature) => string, problems: Problems): Feature[] {
  const done = new Set<Feature>();
  const path: Feature[] = [];
  const visit = (f: Feature): void => {
    if (done.has(f)) return;
    const at = path.indexOf(f);
    if (at >= 0) {
      const cycle = [...path.slice(at), f].map(idOf).join(' → ');
      problems.add(f, `a derived feature needs itself: ${cycle}`, 'Take one of these inputs out.');
      return;
    }
    path.push(f);
    const inputs = isDerived(f.spec) ? Object.values(f.spec.inputs).filter(isFeature) : [];
    for (const input of inputs.sort((a, b) => (idOf(a) < idOf(b) ? -1 : 1))) visit(input);
    path.pop();
    done.add(f);
  };
  for (const f of [...features].sort((a, b) => (idOf(a) < idOf(b) ? -1 : 1))) visit(f);
  return [...done];
}
