/** Mistakes the editor must mark. Checked by `tsc`, never run. */
import { count, decimal, derive, entity, feature, first, last, max, ratio, service, stream, sum, type ValueOf } from 'fabra';
import { z } from 'zod';
import { check, type Equal } from './design.ts';

const user = entity('user', { key: 'user_id' });
const shop = entity('shop', { key: ['shop_id', 'city'] });
const s = stream('events');
const view = s.event('view', z.object({ user_id: z.string(), device: z.object({ mobile: z.boolean() }), os: z.string().nullish(), tags: z.array(z.string()) }));
const buy = s.event('buy', z.object({ user_id: z.string(), price: decimal(2), n: z.int(), currency: z.enum(['EUR', 'USD']) }));

// A wrong column.
// @ts-expect-error 'prise' is no column
sum(buy, 'prise');
// @ts-expect-error a column of one of the events only
max([buy, view], 'price');
// @ts-expect-error an array is no column
last(view, 'tags');
// @ts-expect-error an object is no column, its parts are
first(view, 'device');
// @ts-expect-error a text cannot be summed
sum(buy, 'currency');
// @ts-expect-error a boolean has no order
max(view, 'device.mobile');

// Filters.
// @ts-expect-error unknown column
count(buy).where({ prise: 1 });
// @ts-expect-error wrong type
count(buy).where({ price: '1' });
// @ts-expect-error not one of the enum
count(buy).where({ currency: 'GBP' });
// @ts-expect-error unknown operator
count(buy).where({ price: { gtt: 1 } });
// @ts-expect-error a boolean has no order
count(view).where({ 'device.mobile': { gt: true } });
// @ts-expect-error null is missing: a comparison with it is always false
count(view).where({ os: null });
// @ts-expect-error a filter is data, not code
count(buy).where(e => e.price > 1);

// An event that does not hold the entity's key: a sentence.
type Sentence = Parameters<typeof feature<typeof shop, 'x', number, { user_id: string; city: string }, {}>>[2] & string;
check<Equal<Sentence extends `these events have no column 'shop_id', a key of entity 'shop'` ? true : false, true>>();
// @ts-expect-error these events have no column 'shop_id' …
feature(shop, 'views', count(view).over('5m'));
// @ts-expect-error both sides of a ratio need it
feature(shop, 'cr', ratio(count(view), count(buy)).over('5m'));

// Durations.
// @ts-expect-error no such unit
count(view).over('5 minutes');
// @ts-expect-error a unit is needed
count(view).over('5');
// @ts-expect-error in streams too
stream('x', { lateness: 'ten minutes' });

// Names are literals: they are storage keys.
const dynamic: string = 'views';
// @ts-expect-error a feature name must be a literal
feature(user, dynamic, count(view).over('5m'));

// Frames.
// @ts-expect-error an aggregate needs a frame of time
feature(user, 'views', count(view));

// Options.
// @ts-expect-error a text for a number
feature(user, 'views', count(view).over('5m'), { default: 'none' });
// @ts-expect-error null is no default
feature(user, 'views', count(view).over('5m'), { default: null });
// @ts-expect-error unknown option
feature(user, 'views', count(view).over('5m'), { maxRetrys: 3 });
// @ts-expect-error unknown option of an entity
entity('user', { key: 'user_id', kye: 'x' });
// @ts-expect-error an entity needs a key
entity('user', {});

// Derived.
const views = feature(user, 'views', count(view).over('5m'));
const cr = feature(user, 'cr', ratio(count(buy), count(view)).over('5m'));
// @ts-expect-error no such input
derive({ inputs: { views }, compute: ({ view }) => view });
// @ts-expect-error cr may be null
derive({ inputs: { cr }, compute: ({ cr }) => cr * 2 });
// @ts-expect-error an entity is no feature
derive({ inputs: { user }, compute: () => 1 });
// @ts-expect-error the request has no such field
derive({ inputs: { views }, request: z.object({ total: z.number() }), compute: (_, { request }) => request.totl });
// @ts-expect-error a text times a number
derive({ inputs: { views }, request: z.object({ total: z.string() }), compute: ({ views }, { request }) => views * request.total });
// @ts-expect-error the stated type is another one
derive({ inputs: { views }, type: z.string(), compute: ({ views }) => views });
// @ts-expect-error so is the one that its promise gives
derive({ inputs: { views }, type: z.string(), compute: async ({ views }) => views });

// Services.
// @ts-expect-error an event is no feature
service('s', [view]);

const kept: ValueOf<typeof cr> = null;
export { kept };
