/** What `fabra.config.ts` may hold. */
import { z } from 'zod';
import { FabraError, type Problem } from '../lib/errors.ts';
import { suggest } from '../lib/text.ts';

const positive = z.number().positive();

export const configSchema = z.strictObject({
  online: z.string().min(1).optional(),
  offline: z.string().min(1).optional(),
  bus: z.string().min(1).optional(),
  features: z.string().min(1).optional(),
  env: z.string().min(1).optional(),
  apiKey: z.string().optional(),
  workerBatchSize: z.int().min(1).max(100_000).optional(),
  workerPollInterval: positive.optional(),
  consumerGroup: z.string().min(1).optional(),
});

export type ConfigValues = z.infer<typeof configSchema>;
export type ConfigKey = keyof ConfigValues;

export const CONFIG_KEYS = Object.keys(configSchema.shape) as ConfigKey[];

/** @throws FabraError BAD_CONFIG with a problem per wrong value. */
export function checkConfig(value: unknown, where: string): ConfigValues {
  const checked = configSchema.safeParse(value);
  if (checked.success) return checked.data;
  const problems = checked.error.issues.flatMap((issue): Problem[] => {
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map(key => ({ code: 'BAD_CONFIG', message: `${where} sets '${key}', which is no setting`, hint: suggest(key, CONFIG_KEYS), where }));
    const at = issue.path.join('.');
    return [
      {
        code: 'BAD_CONFIG',
        message: at ? `${where}: ${at}: ${issue.message}` : `${where} must export defineConfig({ … })`,
        hint: "Write: export default defineConfig({ online: 'embedded' })",
        where,
      },
    ];
  });
  throw new FabraError('BAD_CONFIG', problems.length === 1 ? problems[0]!.message : `${problems.length} problems in ${where}`, { problems, hint: problems[0]!.hint, where });
}
