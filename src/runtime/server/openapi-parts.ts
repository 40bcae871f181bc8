/** Pieces of the OpenAPI document. */
export type Json = Record<string, unknown>;

const ERRORS: Record<string, string> = {
  400: 'The request is wrong',
  403: 'The API key is missing or wrong',
  404: 'No such name',
  413: 'Too large',
  415: 'Wrong content type',
  422: 'The rows are wrong',
  503: 'The stores do not answer, or values are too old and the request is strict',
};
export const STATUSES = ['PRESENT', 'NULL_VALUE', 'NOT_FOUND', 'OUTSIDE_MAX_AGE', 'DEFAULTED', 'ERROR'];
export const INSTANT = {
  anyOf: [
    { type: 'string', format: 'date-time' },
    { type: 'integer', description: 'epoch milliseconds' },
  ],
};
export const STAMP = { anyOf: [{ type: 'string', format: 'date-time' }, { type: 'null' }] };
export const POSITION = { type: 'object', description: 'Next offset per stream/partition that the answer holds', additionalProperties: { type: 'integer' } };

export const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });
export const json = (schema: Json, description: string): Json => ({ description, content: { 'application/json': { schema } } });
export const text = (description: string, type = 'text/plain'): Json => ({ description, content: { [type]: { schema: { type: 'string' } } } });
export const failures = (...codes: number[]): Json => Object.fromEntries([...codes, 403].map(c => [c, json(ref('Error'), ERRORS[c] ?? 'The event is wrong')]));

export const list = (items: Json): Json => ({ type: 'array', items });
