/** What Prometheus reads from a server. Label values come from the registry and the route table, never from a request. */
import { Counter, Gauge, type Metric, Registry as PromRegistry } from 'prom-client';
import { compileUnits } from '../engine/units.ts';
import type { Counters } from '../ports/online-store.ts';
import type { Registry } from '../registry/types.ts';
import { OTHER } from './batch.ts';
import type { Project } from './project.ts';
import { ON_DEMAND, type OnDemandCount } from './read/watch.ts';

const HTTP_BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const LOOKUP_BUCKETS = [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5];
/** Route and method of what matched no route. */
export const UNMATCHED = '(unmatched)';

const STORE_COUNTERS: { name: string; help: string; of: (c: Counters) => number }[] = [
  { name: 'fabra_events_processed_total', help: 'Events that the worker applied', of: c => c.applied },
  { name: 'fabra_events_failed_total', help: 'Events that were rejected', of: c => c.rejected },
  { name: 'fabra_events_late_total', help: 'Events behind the watermark', of: c => c.late },
  { name: 'fabra_events_duplicate_total', help: 'Events that were there already', of: c => c.duplicate },
  { name: 'fabra_events_quarantined_total', help: 'Events from the future', of: c => c.quarantined },
  { name: 'fabra_events_ignored_total', help: 'Events that no feature uses', of: c => c.ignored },
];

/**
 * Counts in plain arrays and turned into Prometheus' form when it asks: a client library's histogram hashes its labels at every
 * observation (three of them were 5 us of a 60 us request).
 */
class Timings {
  readonly name: string;
  private readonly help: string;
  private readonly buckets: readonly number[];
  private readonly rows = new Map<string, { labels: Record<string, string>; counts: Float64Array; sum: number; n: number }>();

  constructor(name: string, help: string, buckets: readonly number[], registry: PromRegistry) {
    this.name = name;
    this.help = help;
    this.buckets = buckets;
    registry.registerMetric(this as unknown as Metric);
  }

  observe(key: string, labels: () => Record<string, string>, seconds: number): void {
    let row = this.rows.get(key);
    if (!row) this.rows.set(key, (row = { labels: labels(), counts: new Float64Array(this.buckets.length), sum: 0, n: 0 }));
    row.sum += seconds;
    row.n++;
    for (let i = 0; i < this.buckets.length; i++)
      if (seconds <= this.buckets[i]!) {
        row.counts[i]!++;
        return;
      }
  }

  /** As prom-client wants it: buckets add up. */
  async get(): Promise<object> {
    const values = [...this.rows.values()].flatMap(({ labels, counts, sum, n }) => {
      let below = 0;
      const at = (le: number | string, value: number) => ({ labels: { le, ...labels }, value, metricName: `${this.name}_bucket` });
      return [
        ...this.buckets.map((le, i) => at(le, (below += counts[i]!))),
        at('+Inf', n),
        { labels, value: sum, metricName: `${this.name}_sum` },
        { labels, value: n, metricName: `${this.name}_count` },
      ];
    });
    return { name: this.name, help: this.help, type: 'histogram', aggregator: 'sum', values };
  }

  reset(): void {
    this.rows.clear();
  }
}

const NO_LABELS = (): Record<string, string> => ({});

export class ServerMetrics {
  private readonly prom = new PromRegistry();
  private readonly requests = new Map<string, { labels: Record<string, string>; n: number }>();
  private readonly seconds: Timings;
  private readonly lookups: Timings;
  private values = 0;
  private readonly ingested: Counter<'event_type'>;
  private readonly refused: Counter;
  private readonly registry: Registry;
  private readonly project: Project;

  constructor(project: Project, registry: Registry) {
    this.project = project;
    this.registry = registry;
    const registers = [this.prom];
    this.seconds = new Timings('fabra_http_request_seconds', 'Time to answer a request', HTTP_BUCKETS, this.prom);
    this.lookups = new Timings('fabra_feature_lookup_seconds', 'Time to read the features of one request', LOOKUP_BUCKETS, this.prom);
    const { requests } = this;
    new Counter({
      name: 'fabra_http_requests_total',
      help: 'Requests answered',
      labelNames: ['method', 'route', 'status'],
      registers,
      collect() {
        this.reset();
        for (const { labels, n } of requests.values()) this.inc(labels, n);
      },
    });
    const served = () => this.values;
    new Counter({
      name: 'fabra_feature_values_total',
      help: 'Feature values served',
      registers,
      collect() {
        this.reset();
        this.inc(served());
      },
    });
    this.ingested = new Counter({ name: 'fabra_events_ingested_total', help: 'Events taken over HTTP', labelNames: ['event_type'], registers });
    this.refused = new Counter({ name: 'fabra_events_refused_total', help: 'Events refused over HTTP', registers });
    for (const event of Object.values(registry.events)) this.ingested.inc({ event_type: event.type }, 0);
    this.fromStore(registers);
    this.ofViews(registers);
  }

  /** `route` is the template of the route, undefined when there was none. */
  request(method: string, route: string | undefined, status: number, seconds: number): void {
    const key = route === undefined ? UNMATCHED : `${method} ${route}`;
    const labels = () => (route === undefined ? { method: UNMATCHED, route: UNMATCHED } : { method, route });
    this.seconds.observe(key, labels, seconds);
    const counted = `${status} ${key}`;
    const known = this.requests.get(counted);
    if (known) known.n++;
    else this.requests.set(counted, { labels: { ...labels(), status: `${status}` }, n: 1 });
  }

  lookup(seconds: number, values: number): void {
    this.lookups.observe('', NO_LABELS, seconds);
    this.values += values;
  }

  /** Counts of on-demand values by feature id, as a reader keeps them: read when Prometheus asks. */
  onDemand(counts: ReadonlyMap<string, Readonly<Record<OnDemandCount, number>>>): void {
    const { features, views } = this.registry;
    const ids = [...Object.keys(features).filter(id => features[id]!.kind === 'derive'), ...Object.keys(views).filter(id => !views[id]!.materialize)];
    new Counter({
      name: 'fabra_on_demand_total',
      help: 'On-demand values that timed out, failed, or came from the cache or not',
      labelNames: ['feature', 'outcome'],
      registers: [this.prom],
      collect() {
        this.reset();
        for (const feature of ids) for (const outcome of ON_DEMAND) this.inc({ feature, outcome }, counts.get(feature)?.[outcome] ?? 0);
      },
    });
  }

  /** `event` is `stream/type` of the registry. */
  published(event: string): void {
    this.ingested.inc({ event_type: this.registry.events[event]!.type });
  }

  refusedEvent(): void {
    this.refused.inc();
  }

  get contentType(): string {
    return this.prom.contentType;
  }

  async text(): Promise<string> {
    return this.prom.metrics();
  }

  /** Runs of materialized views, wherever they ran. */
  private ofViews(registers: PromRegistry[]): void {
    const { project, registry } = this;
    const views = Object.values(registry.views).filter(v => v.materialize && v.sql !== null);
    new Counter({
      name: 'fabra_materialize_runs_total',
      help: 'Runs of the SQL of materialized features that ended, by how',
      labelNames: ['view', 'status'],
      registers,
      async collect() {
        this.reset();
        for (const { id } of views) {
          const { ok, failed } = await project.tables.counts(id);
          this.inc({ view: id, status: 'ok' }, ok);
          this.inc({ view: id, status: 'failed' }, failed);
        }
      },
    });
  }

  /** Read from the store when Prometheus asks: the worker is another process. */
  private fromStore(registers: PromRegistry[]): void {
    const { project, registry } = this;
    for (const { name, help, of } of STORE_COUNTERS) {
      new Counter({
        name,
        help,
        labelNames: ['event_type'],
        registers,
        async collect() {
          this.reset();
          for (const [type, n] of await countersByType(project, registry, of)) this.inc({ event_type: type }, n);
        },
      });
    }
    const streams = Object.keys(registry.streams);
    new Gauge({
      name: 'fabra_lag_events',
      help: 'Events in the log that the worker has not read',
      labelNames: ['stream'],
      registers,
      async collect() {
        for (const stream of streams) this.set({ stream }, await lagOf(project, stream));
      },
    });
    new Gauge({
      name: 'fabra_watermark_seconds',
      help: 'Event time below which events are late, epoch seconds',
      labelNames: ['stream'],
      registers,
      async collect() {
        for (const stream of streams) {
          const { max } = (await project.online.streamMark(stream, 0)).admit;
          if (max !== null) this.set({ stream }, (max - registry.streams[stream]!.lateness) / 1000);
        }
      },
    });
    const { triggers } = compileUnits(registry);
    new Gauge({
      name: 'fabra_handlers_waiting',
      help: 'Events that wait for a handler',
      labelNames: ['feature'],
      registers,
      async collect() {
        for (const [feature, n] of Object.entries(await project.online.waiting(triggers))) this.set({ feature }, n);
      },
    });
    new Gauge({
      name: 'fabra_dlq_depth',
      help: 'Dead letters kept',
      registers,
      async collect() {
        this.set(await project.online.deadCount());
      },
    });
  }
}

/** Sums over streams; a type that the registry no longer declares counts as other. */
async function countersByType(project: Project, registry: Registry, of: (c: Counters) => number): Promise<Map<string, number>> {
  const out = new Map<string, number>([[OTHER, 0]]);
  for (const event of Object.values(registry.events)) out.set(event.type, 0);
  for (const stream of Object.keys(registry.streams))
    for (const [type, counters] of Object.entries(await project.online.counters(stream))) {
      const label = Object.hasOwn(registry.events, `${stream}/${type}`) ? type : OTHER;
      out.set(label, (out.get(label) ?? 0) + of(counters));
    }
  return out;
}

async function lagOf(project: Project, stream: string): Promise<number> {
  let lag = 0;
  for (const partition of await project.bus.partitions(stream)) {
    const [{ end }, { next }] = [await project.bus.bounds(stream, partition), await project.online.streamMark(stream, partition)];
    lag += Math.max(0, end - next);
  }
  return lag;
}
