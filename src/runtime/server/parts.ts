/** What the routes share. */
import type { Registry } from '../../registry/types.ts';
import type { ServerMetrics } from '../metrics.ts';
import type { Compiled, Project } from '../project.ts';
import type { Publisher } from '../publish.ts';
import type { FeatureReader } from '../reader.ts';
import type { Names } from './names.ts';
import type { Limits } from './request.ts';

export const JSON_TYPE = 'application/json; charset=utf-8';

export interface ServerParts {
  project: Project;
  compiled: Compiled;
  names: Names;
  reader: FeatureReader;
  publisher: Publisher;
  metrics: ServerMetrics;
  limits: Limits;
  /** The applied registry: the compiled one with its versions. */
  applied: { registry: Registry; revision: number; at: number } | null;
}
