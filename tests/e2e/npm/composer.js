// Compositions of every combinator, compiled, deployed and invoked with the published composer.
// Arguments: API host, credentials.

'use strict'

const assert = require('assert')
const composer = require('openwhisk-composer')
const client = require('openwhisk-composer/client')

const [apihost, credentials] = process.argv.slice(2)
// Nothing of whoever runs this is read.
process.env.WSK_CONFIG_FILE = '/dev/null'
const ow = client({ apihost, api_key: credentials }, true)

const functions = {
  add: 'function main({ n, by }) { return { n: n + (by || 1) } }',
  even: 'function main({ n }) { return { value: n % 2 === 0 } }',
  fail: 'function main({ n }) { return { error: `failed on ${n}` } }',
  list: 'function main() { return [1, 2, 3] }'
}

// Name, composition, arguments, result; `{ error }` for a failure.
const cases = [
  ['a function', composer.function(({ n }) => ({ n: n * 2 })), { n: 4 }, { n: 8 }],
  ['a function without result', composer.function(() => {}), { n: 4 }, { n: 4 }],
  ['a value that is no object', composer.function(({ n }) => n), { n: 4 }, { value: 4 }],
  ['an error', composer.function(() => ({ error: 'no', n: 1 })), {}, { error: 'no' }],
  ['an action', 'add', { n: 1 }, { n: 2 }],
  ['an action by its whole name', '/_/add', { n: 1 }, { n: 2 }],
  ['an action that fails', 'fail', { n: 3 }, { error: 'failed on 3' }],
  ['an action that gives an array', composer.sequence('list', ({ value }) => ({ sum: value.reduce((a, b) => a + b) })), {}, { sum: 6 }],
  ['an action that is missing', 'missing', {}, { error: "Failed to resolve action with name 'guest/missing' during composition." }],
  ['an inline action', composer.action('inline', { action: ({ n }) => ({ n: n - 1 }) }), { n: 1 }, { n: 0 }],
  ['an inline sequence', composer.action('three', { sequence: ['add', 'add', 'add'] }), { n: 1 }, { n: 4 }],
  ['a sequence', composer.sequence('add', ({ n }) => ({ n: n * 10 }), 'add'), { n: 1 }, { n: 21 }],
  ['an empty sequence', composer.sequence(), { n: 1 }, { n: 1 }],
  ['if, true', composer.if('even', 'add', composer.literal({ odd: true })), { n: 2 }, { n: 3 }],
  ['if, false', composer.if('even', 'add', composer.literal({ odd: true })), { n: 3 }, { odd: true }],
  ['if_nosave', composer.if_nosave('even', ({ value }) => ({ was: value })), { n: 2 }, { was: true }],
  ['while', composer.while(({ n }) => n < 4, 'add'), { n: 1 }, { n: 4 }],
  ['dowhile', composer.dowhile('add', ({ n }) => n < 4), { n: 7 }, { n: 8 }],
  ['try', composer.try('fail', ({ error }) => ({ caught: error })), { n: 5 }, { caught: 'failed on 5' }],
  ['try without need', composer.try('add', () => ({ caught: true })), { n: 5 }, { n: 6 }],
  ['try a missing action', composer.try('missing', () => ({ caught: true })), {}, { caught: true }],
  ['finally after a failure', composer.finally('fail', ({ error }) => ({ last: error })), { n: 5 }, { last: 'failed on 5' }],
  ['finally', composer.finally('add', ({ n }) => ({ last: n })), { n: 5 }, { last: 6 }],
  ['let', composer.let({ x: 40 }, 'add', ({ n }) => { x = x + n }, () => ({ x })), { n: 1 }, { x: 42 }], // eslint-disable-line no-undef
  ['mask', composer.let({ x: 1 }, composer.let({ x: 2 }, composer.mask(() => ({ x })))), {}, { x: 1 }], // eslint-disable-line no-undef
  ['retain', composer.retain('add'), { n: 1 }, { params: { n: 1 }, result: { n: 2 } }],
  ['retain_catch', composer.retain_catch('fail'), { n: 1 }, { params: { n: 1 }, result: { error: 'failed on 1' } }],
  ['merge', composer.merge('even'), { n: 2 }, { n: 2, value: true }],
  ['repeat', composer.repeat(3, 'add'), { n: 0 }, { n: 3 }],
  ['retry', composer.let({ left: 2 }, composer.retry(3, () => left-- > 0 ? { error: 'again' } : { left })), {}, { left: -1 }], // eslint-disable-line no-undef
  ['retry in vain', composer.retry(2, 'fail'), { n: 9 }, { error: 'failed on 9' }],
  ['literal', composer.literal({ a: [1, 'ü', null] }), {}, { a: [1, 'ü', null] }],
  ['dynamic', composer.sequence(({ n }) => ({ type: 'action', name: 'add', params: { n, by: 5 } }), composer.dynamic()), { n: 1 }, { n: 6 }],
  ['dynamic without a name', composer.sequence(() => ({ type: 'x' }), composer.dynamic()), {}, { error: 'Incorrect use of the dynamic combinator at AST node root[1]' }]
]

/** What a composition gives, failed or not. */
async function invoke (name, params) {
  const record = await ow.actions.invoke({ name, blocking: true, params }).catch(error => error.error)
  assert.ok(record && record.response, JSON.stringify(record))
  assert.strictEqual(record.response.success, !record.response.result.error, JSON.stringify(record))
  const conducted = record.annotations.find(({ key }) => key === 'conductor')
  assert.deepStrictEqual(conducted, { key: 'conductor', value: true })
  return record
}

/** A branch that nobody waits for runs to its end. */
async function async () {
  const composition = composer.sequence(composer.async('add', ({ n }) => ({ far: n })), ({ activationId }) => ({ activationId }))
  await ow.compositions.deploy(Object.assign({ name: 'async' }, composition.compile()), true)
  const { response } = await invoke('async', { n: 1 })
  for (let left = 300; left > 0; left--) {
    const far = await ow.activations.get({ name: response.result.activationId }).catch(() => {})
    if (far) return assert.deepStrictEqual(far.response.result, { far: 2 })
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  assert.fail('the branch does not end')
}

async function main () {
  for (const [name, code] of Object.entries(functions)) await ow.actions.create({ name, action: code })
  for (const [what, composition, params, expected] of cases) {
    const compiled = composer.task(composition).compile()
    await ow.compositions.deploy(Object.assign({ name: 'composition' }, compiled), true)
    const { response, logs } = await invoke('composition', params)
    assert.deepStrictEqual(response.result, expected, what)
    const steps = await Promise.all(logs.map(id => ow.activations.get({ name: id })))
    assert.ok(steps.every((step, at) => at % 2 === 1 || step.name === 'composition'), what)
    // Containers of a thing of the past are nothing to wait for.
    await ow.actions.delete({ name: 'composition' })
    console.log(what)
  }
  await async()
  console.log('async')
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
