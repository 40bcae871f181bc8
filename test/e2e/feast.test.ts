/**
 * A real Feast client reads from `fabra serve`. Runs where its virtual environment is, or with FABRA_FEAST=1, which makes one from
 * PyPI in the temporary folder (a few hundred MB).
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BIN, fabra } from '../support/bin.ts';
import { cleanUp, newDir } from '../support/project.ts';

const FEAST = 'feast==0.67.0';
const VENV = join(tmpdir(), 'fabra-feast-0.67.0');
const READY = join(VENV, 'bin', 'feast');
const wanted = existsSync(READY) || process.env.FABRA_FEAST === '1';
if (!wanted) console.warn(`feast.test.ts is skipped: there is no ${VENV}; FABRA_FEAST=1 makes it from PyPI`);

const FEATURES = `
import { count, derive, entity, feature, int64, pushed, service, stream } from 'fabra';
import { z } from 'zod';
const driver = entity('driver', { key: 'driver_id' });
const trips = stream('trips', { id: 'id', time: 'ts' });
const trip = trips.event('trip', z.object({ driver_id: z.string(), fare: z.number() }));
export const n = feature(driver, 'trips', count(trip).over('1d'));
export const rating = feature(driver, 'rating', pushed(z.number()), { ttl: '1h' });
export const account = feature(driver, 'account', pushed(int64()));
export const city = feature(driver, 'city', pushed(z.string()));
export const active = feature(driver, 'active', pushed(z.boolean()));
export const plus = feature(driver, 'plus', derive({ inputs: { rating }, request: z.object({ add: z.number() }), compute: ({ rating: r }, { request }) => (r ?? 0) + request.add }));
export const both = service('both', [n, rating]);
`;

/** The features that the client writes too; ours are named by their entity, which is the name of Feast's view. */
const CLIENT = `
import sys, json, datetime
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RequestSource, ValueType
from feast.repo_config import RepoConfig
from feast.types import Bool, Float64, Int64, String
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

url, repo = sys.argv[1], sys.argv[2]
store = FeatureStore(config=RepoConfig(project='p', provider='local', registry=repo + '/registry.db', entity_key_serialization_version=3,
    online_store={'type': 'remote', 'path': url}, offline_store={'type': 'file'}))
driver = Entity(name='driver', join_keys=['driver_id'], value_type=ValueType.INT64)
source = FileSource(name='file', path=repo + '/none.parquet', timestamp_field='event_timestamp')
view = FeatureView(name='driver', entities=[driver], ttl=datetime.timedelta(0), source=PushSource(name='driver', batch_source=source), schema=[
    Field(name='driver_id', dtype=Int64), Field(name='trips', dtype=Int64), Field(name='rating', dtype=Float64), Field(name='account', dtype=Int64),
    Field(name='city', dtype=String), Field(name='active', dtype=Bool)])
# The registry alone: the remote store has no tables to make.
for thing in (driver,): store.registry.apply_entity(thing, 'p')
store.registry.apply_feature_view(view, 'p')
# One that it writes: named as our feature.
store.registry.apply_feature_view(FeatureView(name='city', entities=[driver], source=source, schema=[Field(name='driver_id', dtype=Int64), Field(name='city', dtype=String)]), 'p')
store.registry.apply_feature_service(FeatureService(name='both', features=[view[['trips', 'rating']]]), 'p')
store.registry.commit()

now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
rows = [{'driver_id': k} for k in (5, 99999, 3, 5, 4)]
def read(features, rows=rows, **more):
    response = store.get_online_features(features=features, entity_rows=rows, **more)
    return {'values': response.to_dict(), 'names': list(response.proto.metadata.feature_names.val),
            'statuses': [[FieldStatus.Name(s) for s in r.statuses] for r in response.proto.results]}

out = {}
names = ['trips', 'rating', 'account', 'city', 'active']
out['list'] = read(['driver:' + n for n in names])
out['full'] = read(['driver:' + n for n in names], full_feature_names=True)
out['service'] = read(store.get_feature_service('both'))
store.write_to_online_store('city', pd.DataFrame({'driver_id': [8, 9], 'city': ['Oslo', None], 'event_timestamp': [now, now]}))
out['written'] = read(['driver:city'], [{'driver_id': k} for k in (8, 9)])
out['errors'] = {}
for name, ask in {'feature': lambda: read(['driver:rating'], [{'driver_id': None}])}.items():
    try:
        ask()
        out['errors'][name] = None
    except Exception as e:
        out['errors'][name] = str(e)
print(json.dumps(out, default=str))
`;

describe.skipIf(!wanted)('a Feast client', () => {
  let dir: string;
  let url: string;
  let stop: () => Promise<void>;

  beforeAll(async () => {
    if (!existsSync(READY)) {
      execFileSync('python3', ['-m', 'venv', VENV], { stdio: 'pipe' });
      execFileSync(join(VENV, 'bin', 'pip'), ['install', '-q', FEAST], { stdio: 'pipe' });
    }
    dir = newDir('feast');
    writeFileSync(join(dir, 'features.ts'), FEATURES);
    expect(await fabra(['apply', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
    const child = spawn(process.execPath, [BIN, 'serve', '--port', '0', '--json'], { cwd: dir, env: { PATH: process.env.PATH }, stdio: 'pipe' });
    const ended = new Promise<void>(resolve => child.on('exit', () => resolve()));
    stop = () => {
      child.kill('SIGTERM');
      return ended;
    };
    let stdout = '';
    url = await new Promise<string>((resolve, reject) => {
      child.stdout.setEncoding('utf8').on('data', (t: string) => {
        stdout += t;
        if (stdout.trimEnd().endsWith('}')) resolve((JSON.parse(stdout) as { url: string }).url);
      });
      void ended.then(() => reject(new Error(`serve ended: ${stdout}`)));
    });
    await fill();
  }, 600_000);
  afterAll(async () => {
    await stop?.();
    cleanUp();
  });

  const post = async (path: string, body: unknown): Promise<void> => {
    const answer = await fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    expect([answer.status, await answer.text()].join(' ')).toMatch(/^20[02]/);
  };

  async function fill(): Promise<void> {
    const now = Date.now();
    await post('/ingest/trip', { event_id: 't1', entity_id: '5', timestamp: now - 60_000, payload: { fare: 7.5 } });
    expect(await fabra(['worker', '--until-idle', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
    const push = (name: string, keys: number[], values: unknown[], ages: number[]) =>
      post('/push', { push_source_name: `driver.${name}`, df: { driver_id: keys, [name]: values, event_timestamp: ages.map(a => new Date(now - a).toISOString()) }, to: 'online' });
    await push('rating', [5, 3, 4], [4.25, null, 3], [1_000, 1_000, 2 * 3_600_000]);
    await push('account', [5, 3], ['9007199254740993', 7], [1_000, 1_000]);
    await push('city', [5, 4], ['Rome', 'Łódź'], [1_000, 1_000]);
    await push('active', [5, 3], [true, false], [1_000, 1_000]);
  }

  it('reads the values and statuses that fabra get shows, and writes', async () => {
    const script = join(dir, 'client.py');
    writeFileSync(script, CLIENT);
    const run = execFileSync(join(VENV, 'bin', 'python'), ['-W', 'ignore', script, url, dir], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 24 });
    const out = JSON.parse(run.trimEnd().split('\n').at(-1)!) as Record<
      'list' | 'full' | 'service' | 'written',
      { values: Record<string, unknown[]>; names: string[]; statuses: string[][] }
    > & {
      errors: Record<string, string | null>;
    };
    const keys = [5, 99999, 3, 5, 4];
    expect(out.list.names).toEqual(['driver_id', 'trips', 'rating', 'account', 'city', 'active']);
    expect(out.list.values.driver_id).toEqual(keys);
    // The digits are exact on the wire and in Python; JSON.parse here is what rounds them.
    expect(run).toContain('9007199254740993');
    for (const [i, key] of keys.entries()) {
      const got = await fabra(['get', 'driver', String(key), '--json'], { cwd: dir });
      const { features } = got.json<{ features: Record<string, { value: unknown; status: string }> }>();
      for (const [f, name] of out.list.names.entries()) {
        if (name === 'driver_id') continue;
        const { value, status } = features[name]!;
        expect([name, key, out.list.values[name]![i], out.list.statuses[f]![i]]).toEqual([name, key, name === 'account' && value !== null ? Number(value) : value, status]);
      }
    }
    expect(out.list.statuses).toEqual([
      Array(5).fill('PRESENT'),
      Array(5).fill('PRESENT'),
      ['PRESENT', 'NOT_FOUND', 'NULL_VALUE', 'PRESENT', 'OUTSIDE_MAX_AGE'],
      ['PRESENT', 'NOT_FOUND', 'PRESENT', 'PRESENT', 'NOT_FOUND'],
      ['PRESENT', 'NOT_FOUND', 'NOT_FOUND', 'PRESENT', 'PRESENT'],
      ['PRESENT', 'NOT_FOUND', 'PRESENT', 'PRESENT', 'NOT_FOUND'],
    ]);
    expect(out.full.values.driver__rating).toEqual(out.list.values.rating);
    expect(out.service.values.rating).toEqual(out.list.values.rating);
    expect([out.written.values.city, out.written.statuses[1]]).toEqual([
      ['Oslo', null],
      ['PRESENT', 'NULL_VALUE'],
    ]);
    expect(out.errors.feature).toMatch(/400/);
  }, 300_000);
});
