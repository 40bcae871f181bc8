/** What `fabra init` writes beside a template's own files: samples that fit its schemas, settings, and nothing on a dry run (CASES.md T10). */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { sha256 } from '../../src/lib/hash.ts';
import { fraudSample } from '../../src/runtime/sample/fraud.ts';
import { clickstreamLabels } from '../../src/runtime/sample/labels.ts';
import { CATEGORIES, recommendationsSample } from '../../src/runtime/sample/recommendations.ts';
import { fraudReport, transaction } from '../../templates/fraud/features.ts';
import { ITEMS } from '../../templates/recommendations/items.ts';
import { view } from '../../templates/recommendations/features.ts';
import { fabra } from '../support/bin.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'fabra-init-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Line {
  event_type: string;
  timestamp: string;
  event_id: string;
  [name: string]: unknown;
}
const of = (files: { path: string; text: string }[], name: string): string => files.find(f => f.path === name)!.text;
const events = (files: { path: string; text: string }[]): Line[] =>
  of(files, 'data/events.ndjson')
    .trim()
    .split('\n')
    .map(l => JSON.parse(l) as Line);
const rows = (text: string): Record<string, string>[] => {
  const [header = '', ...lines] = text.trim().split('\n');
  return lines.map(l => Object.fromEntries(l.split(',').map((c, i) => [header.split(',')[i]!, c])));
};
const sortedOnce = (list: readonly Line[]): void => {
  expect(list.map(e => e.timestamp)).toEqual(list.map(e => e.timestamp).sort());
  expect(new Set(list.map(e => e.event_id)).size).toBe(list.length);
};

describe('samples', () => {
  it('are the same bytes every time', () => {
    for (const make of [recommendationsSample, fraudSample]) expect(sha256(JSON.stringify(make()))).toBe(sha256(JSON.stringify(make())));
  });

  it('recommendations: views and orders of products that the catalogue has', () => {
    const files = recommendationsSample();
    const views = events(files);
    sortedOnce(views);
    expect(views).toHaveLength(363);
    for (const e of views) {
      expect(view.schema.safeParse(e).success).toBe(true);
      expect(ITEMS).toHaveProperty(String(e.product_id));
    }
    const orders = rows(of(files, 'data/orders.csv'));
    expect(orders).toHaveLength(287);
    for (const o of orders) expect(ITEMS[o.product_id!]?.category).toBe(o.category);
    expect([...new Set(Object.values(ITEMS).map(i => i.category))]).toEqual([...CATEGORIES]);
    // Two orders of one user at one instant would leave open which came last.
    expect(new Set(orders.map(o => `${o.user_id}/${o.ordered_at}`)).size).toBe(orders.length);
    const labels = rows(of(files, 'data/labels.csv'));
    expect(labels).toHaveLength(70);
    expect(new Set(labels.map(l => l.clicked))).toEqual(new Set(['0', '1']));
  });

  it('fraud: reports come at least a day after their payment, and none is missing its terminal', () => {
    const files = fraudSample();
    const log = events(files);
    sortedOnce(log);
    const payments = new Map(log.filter(e => e.event_type === 'transaction').map(e => [e.event_id, e]));
    const reports = log.filter(e => e.event_type === 'fraud_report');
    expect(reports).toHaveLength(14);
    for (const p of payments.values()) expect(transaction.schema.safeParse(p).success).toBe(true);
    for (const r of reports) {
      expect(fraudReport.schema.safeParse(r).success).toBe(true);
      const paid = payments.get(String(r.transaction_id))!;
      expect(paid).toMatchObject({ card_id: r.card_id, terminal_id: r.terminal_id, customer_id: r.customer_id });
      expect(Date.parse(r.timestamp) - Date.parse(paid.timestamp)).toBeGreaterThanOrEqual(86_400_000);
    }
    const labels = rows(of(files, 'data/labels.csv'));
    expect(labels.filter(l => l.fraud === '1').length).toBeGreaterThanOrEqual(reports.length);
    expect(labels.filter(l => l.fraud === '0').length).toBeGreaterThan(100);
  });

  it('clickstream: labels are views of the sample, with the whole key', () => {
    const file = clickstreamLabels({ events: 5_000, seed: 42, day: '2025-01-15' });
    const labels = rows(file.text);
    expect(labels.length).toBeGreaterThan(100);
    for (const l of labels) expect([l.user_id, l.product_id, l.session_id, l.event_timestamp].every(c => c !== undefined && c !== '')).toBe(true);
    expect(new Set(labels.map(l => l.bought))).toEqual(new Set(['0', '1']));
  });
});

describe('fabra init', () => {
  it('--dry-run writes nothing and says what it would; the folder then holds exactly that', { timeout: 60_000 }, async () => {
    for (const template of ['recommendations', 'fraud', 'minimal']) {
      const args = ['init', template, '--template', template, '--json'];
      const dry = (await fabra([...args, '--dry-run'], { cwd: dir })).json<{ files: string[]; events: number } & Record<string, unknown>>();
      expect(readdirSync(dir)).not.toContain(template);
      const made = (await fabra(args, { cwd: dir })).json<{ files: string[]; events: number } & Record<string, unknown>>();
      expect(made).toEqual({ ...dry, dryRun: false });
      const root = path.join(dir, template);
      const found = readdirSync(root, { recursive: true, withFileTypes: true }).filter(e => e.isFile());
      expect(found.map(e => path.relative(root, path.join(e.parentPath, e.name)).split(path.sep).join('/')).sort()).toEqual(made.files);
    }
  });

  it('.env: every setting as a comment, for the owner alone', () => {
    const file = path.join(dir, 'fraud/.env');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, 'utf8');
    expect(parseEnv(text)).toEqual({ FABRA_ENV: 'dev' });
    expect([...text.matchAll(/^# (FABRA_\w+)=/gm)].map(m => m[1])).toEqual(
      expect.arrayContaining([
        'FABRA_API_KEY',
        'FABRA_ONLINE_URL',
        'FABRA_OFFLINE_URL',
        'FABRA_BUS_URL',
        'FABRA_WORKER_BATCH_SIZE',
        'FABRA_WORKER_POLL_INTERVAL',
        'FABRA_LOG_LEVEL',
      ]),
    );
  });
});
