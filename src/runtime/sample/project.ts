/** The data that `fabra init` writes into a project of each template. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { SampleFile } from './catalogue.ts';

export const CLICKSTREAM_FILE = 'data/events.csv.gz';

/** Small samples; templates that are not here carry their data, but for the clickstream, which is written as it is made. */
async function smallSample(template: string): Promise<SampleFile[]> {
  if (template === 'recommendations') return (await import('./recommendations.ts')).recommendationsSample();
  if (template === 'fraud') return (await import('./fraud.ts')).fraudSample();
  return [];
}

/** Paths that {@link writeSample} makes, and how many events are in them. */
export async function sampleOf(template: string, events: number): Promise<{ files: string[]; events: number }> {
  if (template === 'clickstream') return { files: [CLICKSTREAM_FILE, 'data/labels.csv'], events };
  const files = await smallSample(template);
  return { files: files.map(f => f.path), events: files.reduce((n, f) => n + f.events, 0) };
}

/** Writes a template's sample into a project; `events`: of the clickstream. */
export async function writeSample(template: string, dir: string, events: number): Promise<void> {
  await mkdir(path.join(dir, 'data'), { recursive: true });
  for (const f of await smallSample(template)) await writeFile(path.join(dir, f.path), f.text);
  if (template !== 'clickstream') return;
  const [{ DEFAULT_SAMPLE }, { writeClickstream }, { clickstreamLabels }] = await Promise.all([import('./clickstream.ts'), import('./write.ts'), import('./labels.ts')]);
  const options = { ...DEFAULT_SAMPLE, events };
  await writeClickstream(path.join(dir, CLICKSTREAM_FILE), options);
  const labels = clickstreamLabels(options);
  await writeFile(path.join(dir, labels.path), labels.text);
}
