/** A parity report as JSON, Markdown, JUnit XML and HTML: text in, nothing written. */
import type { Cell, Value } from '../../engine/values.ts';
import { toJson } from '../../lib/json.ts';
import { showKey } from '../../lib/text.ts';
import { iso } from '../../lib/time.ts';
import type { ParityReport, WorstRow } from './types.ts';

const n = (v: number): string => v.toLocaleString('en-US');
const time = (ms: number | null): string | null => (ms === null ? null : iso(ms));
const cell = (c: Cell | null) => c && { value: c.value, status: c.status, ts: time(c.ts), ...(c.reason !== undefined && { reason: c.reason }) };

/** As `--json` prints it: times are ISO 8601. */
export function parityJson(r: ParityReport): Record<string, unknown> {
  return {
    ok: r.ok,
    mode: r.mode,
    p0: r.p0,
    left_out: r.left,
    worst: r.worst.map(w => ({
      feature: w.feature,
      entity: w.entity,
      key: showKey(w.key),
      at: iso(w.at),
      online: cell(w.online),
      offline: cell(w.offline),
      recount: cell(w.recount),
      right: w.right,
      frame: w.frame && { from: time(w.frame.from), to: iso(w.frame.to) },
      events: w.events,
      offending: w.offending.map(e => ({ ...e, ts: iso(e.ts) })),
      inputs: w.inputs && Object.fromEntries(Object.entries(w.inputs).map(([k, v]) => [k, { online: cell(v.online), offline: cell(v.offline) }])),
    })),
    audit: r.audit,
    nonempty: r.nonempty,
    skipped: r.skipped,
    rows: r.rows,
    instants: r.instants && { from: iso(r.instants.from), to: iso(r.instants.to) },
    position: r.position,
    seed: r.seed,
    seconds: r.seconds,
  };
}

export const shown = (v: Value): string => (typeof v === 'string' ? v : toJson(v));
const shownCell = (c: Cell | null): string => (c === null ? '-' : `${shown(c.value)} (${c.status}${c.ts === null ? '' : `, ${iso(c.ts)}`})`);

/** One difference in lines that fit a terminal. */
export function worstLines(w: WorstRow): string[] {
  const head = [
    `${w.feature} of ${showKey(w.key)} at ${iso(w.at)}`,
    `  online  ${shownCell(w.online)}`,
    `  offline ${shownCell(w.offline)}`,
    `  recount ${shownCell(w.recount)}: ${verdict(w)}`,
  ];
  if (w.frame) head.push(`  frame   [${w.frame.from === null ? 'the beginning' : iso(w.frame.from)}, ${iso(w.frame.to)}), events: ${n(w.events)}`);
  for (const [name, i] of Object.entries(w.inputs ?? {})) head.push(`  input ${name}: online ${shown(i.online.value)}, offline ${shown(i.offline.value)}`);
  for (const e of w.offending) head.push(`  event ${e.id} ${iso(e.ts)} ${e.type} (offset ${e.offset})`, `    ${e.note}`);
  return head;
}

function verdict(w: WorstRow): string {
  if (w.right === 'unknown') return 'not possible';
  return w.right === 'neither' ? 'neither side is right' : `${w.right} is right`;
}

const summary = (r: ParityReport): string[] => [
  `${n(r.p0.compared)} values compared over ${n(r.rows)} rows, ${n(r.p0.mismatched)} different, ${n(r.nonempty)} with events behind them`,
  ...(r.instants ? [`instants ${iso(r.instants.from)} to ${iso(r.instants.to)} (${r.mode === 'replay' ? 'a store rebuilt from the log' : 'the live store'}), seed ${r.seed}`] : []),
  ...(r.skipped.expired + r.skipped.backfilling + r.skipped.moving > 0
    ? [`not compared: ${n(r.skipped.expired)} behind the retention, ${n(r.skipped.backfilling)} in backfill, ${n(r.skipped.moving)} changed while they were read`]
    : []),
  ...r.left.map(l => `not compared: ${l.feature}: ${l.reason}`),
];

const auditText = (r: ParityReport): string[] =>
  r.audit.map(
    a =>
      `${a.stream}: ${n(a.rows)} decoded, ${n(a.late)} late, ${n(a.quarantined)} quarantined; recorded verdicts that SQL decides otherwise: ${a.differ ?? 'not checked (time may have been re-based)'}`,
  );

const HEAD = ['feature', 'compared', 'with events', 'both null', 'online null', 'offline null', 'different', 'smape', 'max error', 'skipped'];
const tableOf = (r: ParityReport): string[][] =>
  r.p0.features.map(f => [
    f.feature,
    n(f.total),
    n(f.nonempty),
    n(f.both_null),
    n(f.online_null),
    n(f.offline_null),
    n(f.mismatch),
    f.smape === null ? '-' : String(f.smape),
    f.max_error === null ? '-' : String(f.max_error),
    n(f.skipped),
  ]);

const md = (text: string): string => text.replace(/[|\\`*_<>]/g, c => `\\${c}`);

export function parityMarkdown(r: ParityReport): string {
  const row = (cells: string[]) => `| ${cells.map(md).join(' | ')} |`;
  return [
    `# Parity: ${r.ok ? 'the same' : 'DIFFERENT'}`,
    '',
    ...summary(r).map(l => `- ${l}`),
    ...auditText(r).map(l => `- log audit, ${l}`),
    '',
    row(HEAD),
    `|${HEAD.map((_, i) => (i === 0 ? ' --- ' : ' ---: ')).join('|')}|`,
    ...tableOf(r).map(row),
    ...(r.worst.length > 0 ? ['', '## The worst differences', ''] : []),
    ...r.worst.flatMap(w => ['```', ...worstLines(w).map(l => l.replaceAll('```', "'''")), '```', '']),
    '',
  ].join('\n');
}

const xml = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML 1.0 has no way to write these.
  text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, '\ufffd').replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);

/** One test case per feature, and one per stream's audit. */
export function parityJunit(r: ParityReport): string {
  const features = r.p0.features.map(f => {
    const head = `    <testcase classname="parity" name="${xml(f.feature)}"`;
    if (f.total === 0) return `${head}><skipped message="not compared"/></testcase>`;
    if (f.mismatch === 0) return `${head}/>`;
    const why = r.worst
      .filter(w => w.feature === f.feature)
      .flatMap(worstLines)
      .join('\n');
    return `${head}><failure message="${f.mismatch} of ${f.total} values differ">${xml(why)}</failure></testcase>`;
  });
  const audits = r.audit.map(a => {
    const head = `    <testcase classname="parity.audit" name="${xml(a.stream)}"`;
    if (a.differ === null) return `${head}><skipped message="time may have been re-based"/></testcase>`;
    return a.differ === 0 ? `${head}/>` : `${head}><failure message="${a.differ} recorded verdicts are not what SQL decides"/></testcase>`;
  });
  const left = r.left.map(l => `    <testcase classname="parity" name="${xml(l.feature)}"><skipped message="${xml(l.reason)}"/></testcase>`);
  const failures = r.p0.features.filter(f => f.mismatch > 0).length + r.audit.filter(a => a.differ).length;
  const skipped = r.p0.features.filter(f => f.total === 0).length + r.audit.filter(a => a.differ === null).length + left.length;
  const counts = `tests="${features.length + left.length + audits.length}" failures="${failures}" skipped="${skipped}" time="${r.seconds}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites ${counts}>`,
    `  <testsuite name="fabra parity" ${counts}>`,
    ...features,
    ...left,
    ...audits,
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

export function parityHtml(r: ParityReport): string {
  const cells = (tag: string, list: string[]) => `<tr>${list.map(c => `<${tag}>${xml(c)}</${tag}>`).join('')}</tr>`;
  return [
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>fabra parity</title>',
    '<style>body{font:14px/1.5 system-ui;margin:2rem;max-width:80rem}table{border-collapse:collapse}td,th{padding:.2rem .6rem;border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child{text-align:left}pre{background:#f4f4f4;padding:.8rem;overflow:auto}</style>',
    `<h1>Parity: ${r.ok ? 'the same' : 'different'}</h1>`,
    `<ul>${[...summary(r), ...auditText(r).map(l => `log audit, ${l}`)].map(l => `<li>${xml(l)}</li>`).join('')}</ul>`,
    `<table>${cells('th', HEAD)}${tableOf(r)
      .map(row => cells('td', row))
      .join('')}</table>`,
    ...(r.worst.length > 0 ? ['<h2>The worst differences</h2>', ...r.worst.map(w => `<pre>${xml(worstLines(w).join('\n'))}</pre>`)] : []),
    '</html>',
    '',
  ].join('\n');
}

/** File name -> text, as other tools look for them. */
export const parityFiles = (r: ParityReport): Record<string, string> => ({
  'parity_report.json': `${toJson(parityJson(r), 2)}\n`,
  'parity_report.md': parityMarkdown(r),
  'parity_report.xml': parityJunit(r),
  'parity_report.html': parityHtml(r),
});

export const parityText = { summary, audit: auditText };
