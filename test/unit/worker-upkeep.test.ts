/** What a worker does when there is nothing to read, on a log that always has something. */
import { afterAll, expect, it, vi } from 'vitest';
import { eventsOf, newHandlers, STREAM, work } from '../support/handlers.ts';
import { appendAll, cleanUp } from '../support/project.ts';

afterAll(cleanUp);

it('goes on trimming and settling when the log never runs dry', async () => {
  const run = await newHandlers('upkeep', `export const n = feature(user, 'n', on(click, { type: z.number(), handle: () => 1 }));`, eventsOf([{}]));
  const { project } = run;
  const { bus, clock } = project;
  const trim = vi.spyOn(project.online, 'trim');
  const settle = vi.spyOn(project.online, 'settle');
  // Every look at the log finds one more event, a tenth of a second later.
  let looks = 0;
  let at = clock.now();
  let [trims, settles] = [0, 0];
  project.clock = { ...clock, now: () => at };
  const poll = bus.poll.bind(bus);
  vi.spyOn(bus, 'poll').mockImplementation(async (stream, ...more) => {
    if (stream === STREAM && ++looks < 50) {
      await appendAll(project, STREAM, eventsOf([{ id: `more${looks}` }]));
      at += 100;
      [trims, settles] = [trim.mock.calls.length, settle.mock.calls.length];
    }
    return poll(stream, ...more);
  });
  await work(run);
  expect(trims).toBeGreaterThanOrEqual(3);
  expect(settles).toBeGreaterThanOrEqual(3);
  expect(trims).toBeLessThan(10);
  await project.close();
});
