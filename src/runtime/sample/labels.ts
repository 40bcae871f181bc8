/** Rows to label in the sample day: product views, and whether their session went on to buy. */
import { clickstreamLines, type SampleOptions } from './clickstream.ts';
import { csv, type SampleFile } from './catalogue.ts';

const ROWS = 200;

/** About 200 views spread over the day; the same for the same options. */
export function clickstreamLabels(o: SampleOptions): SampleFile {
  const views: { session: string; ts: string; cells: string[] }[] = [];
  const bought = new Map<string, string>();
  for (const line of clickstreamLines(o)) {
    const [, ts = '', user = '', session = '', type, product = ''] = line.split(',');
    if (!ts.startsWith(o.day) || user === '' || product === '') continue;
    if (type === 'page_view') views.push({ session, ts, cells: [user, product, session, ts] });
    else if (type === 'purchase' && ts > (bought.get(session) ?? '')) bought.set(session, ts);
  }
  const step = Math.max(1, Math.floor(views.length / ROWS));
  const rows = views.filter((_, i) => i % step === 0).map(v => [...v.cells, (bought.get(v.session) ?? '') > v.ts ? 1 : 0]);
  return csv('data/labels.csv', ['user_id', 'product_id', 'session_id', 'event_timestamp', 'bought'], rows);
}
