// A flow through every collection with the published client. Arguments: API host, credentials.

'use strict'

const assert = require('assert')
const openwhisk = require('openwhisk')

const [apihost, credentials] = process.argv.slice(2)
const ow = openwhisk({ apihost, api_key: credentials })
const own = { action: 'f', trigger: 't', rule: 'r', package: 'p' }

const greet = 'function main({ name, greeting }) { return { text: `${greeting || "hello"} ${name}`, name } }'
const shout = 'function main({ text }) { console.log(text); return { text: text.toUpperCase() } }'

/** Fails unless the promise is rejected with this status and a text that contains this. */
async function refused (promise, status, text) {
  const error = await promise.then(() => assert.fail(`no error ${status}`), error => error)
  assert.strictEqual(error.statusCode, status, error.message)
  assert.ok(error.message.includes(text), error.message)
}

/** Asks until there is an answer. */
async function eventually (ask) {
  for (let left = 300; ; left--) {
    const answer = await ask().catch(error => { if (left === 0) throw error })
    if (answer) return answer
    assert.ok(left > 0, 'not in time')
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

async function actions () {
  const created = await ow.actions.create({ name: own.action, action: greet, params: { greeting: 'hi' } })
  assert.deepStrictEqual([created.version, created.exec.code, created.exec.binary], ['0.0.1', greet, false])
  await refused(ow.actions.create({ name: own.action, action: greet }), 409, 'resource already exists')
  const updated = await ow.actions.update({ name: own.action, action: greet, params: { greeting: 'good day' } })
  assert.strictEqual(updated.version, '0.0.2')
  assert.strictEqual((await ow.actions.get({ name: own.action, code: false })).exec.code, undefined)
  assert.deepStrictEqual((await ow.actions.list({ limit: 10 })).map(action => action.name), [own.action])

  const result = await ow.actions.invoke({ name: own.action, blocking: true, result: true, params: { name: 'ü' } })
  assert.deepStrictEqual(result, { text: 'good day ü', name: 'ü' })
  const record = await ow.actions.invoke({ name: own.action, blocking: true, params: { name: 'x' } })
  assert.strictEqual(record.response.status, 'success')
  const { activationId } = await ow.actions.invoke({ name: own.action, params: { name: 'y' } })
  const later = await eventually(() => ow.activations.get({ name: activationId }))
  assert.strictEqual(later.response.result.text, 'good day y')
  await refused(ow.actions.invoke({ name: 'missing' }), 404, 'does not exist')
}

async function sequences () {
  await ow.packages.create({ name: own.package, package: { parameters: [{ key: 'greeting', value: 'ahoy' }] } })
  await ow.actions.create({ name: `${own.package}/${own.action}`, action: greet })
  await ow.actions.create({ name: 'shout', action: shout })
  const components = [`/_/${own.package}/${own.action}`, '/_/shout']
  const sequence = await ow.actions.create({ name: 's', sequence: components })
  const namespace = (await ow.namespaces.list())[0]
  assert.deepStrictEqual(sequence.exec.components, components.map(name => name.replace('_', namespace)))
  const record = await ow.actions.invoke({ name: 's', blocking: true, params: { name: 'all' } })
  assert.deepStrictEqual(record.response.result, { text: 'AHOY ALL' })
  assert.strictEqual(record.logs.length, 2)
  const steps = await Promise.all(record.logs.map(id => ow.activations.get({ name: id })))
  assert.ok(steps.every(step => step.cause === record.activationId))
  const { logs } = await ow.activations.logs({ name: record.logs[1] })
  assert.ok(logs[0].endsWith('stdout: ahoy all'), logs[0])
  const { result } = await ow.activations.result({ name: record.activationId })
  assert.deepStrictEqual(result, { text: 'AHOY ALL' })
  await refused(ow.actions.create({ name: 'loop', sequence: ['/_/loop'] }), 400, 'Sequence may not refer to itself.')
  await refused(ow.packages.delete({ name: own.package }), 409, '')
}

async function triggers () {
  const trigger = { parameters: [{ key: 'name', value: 'trigger' }] }
  await ow.triggers.create({ name: own.trigger, trigger })
  await ow.rules.create({ name: own.rule, action: 's', trigger: own.trigger })
  assert.strictEqual((await ow.rules.get({ name: own.rule })).status, 'active')
  const since = Date.now()
  const { activationId } = await ow.triggers.invoke({ name: own.trigger, params: { name: 'fired' } })
  const fired = await eventually(() => ow.activations.get({ name: activationId }))
  assert.deepStrictEqual(fired.response.result, { name: 'fired' })
  const reaction = JSON.parse(fired.logs[0])
  assert.strictEqual(reaction.success, true, fired.logs[0])
  const session = await eventually(() => ow.activations.get({ name: reaction.activationId }))
  assert.deepStrictEqual(session.response.result, { text: 'AHOY FIRED' })
  assert.strictEqual((await ow.activations.list({ name: 's', since })).length, 1)
  await ow.rules.disable({ name: own.rule })
  assert.strictEqual((await ow.rules.get({ name: own.rule })).status, 'inactive')
}

/** Feeds are actions like any other; what makes them feeds is what clients do. */
async function feeds () {
  const name = 'feeds/feed'
  const trigger = 'fed'
  const feed = 'function main(args) { return args.refuses === args.lifecycleEvent ? { error: `no ${args.refuses}` } : args }'
  await ow.packages.create({ name: 'feeds' })
  await ow.actions.create({ name, action: feed, annotations: { feed: true } })
  const contents = await ow.packages.get({ name: 'feeds' })
  assert.deepStrictEqual([contents.feeds.map(feed => feed.name), contents.actions], [['feed'], []])

  const annotations = [{ key: 'feed', value: `/_/${name}` }]
  await ow.triggers.create({ name: trigger, trigger: { annotations } })
  const params = { cron: '* * * * *' }
  for (const [call, lifecycleEvent] of Object.entries({ create: 'CREATE', get: 'READ', update: 'UPDATE', delete: 'DELETE' })) {
    const { response } = await ow.feeds[call]({ name, trigger, params })
    const triggerName = `/_/${trigger}`
    assert.deepStrictEqual(response.result, { lifecycleEvent, triggerName, authKey: credentials, ...params })
  }
  const kept = await ow.triggers.get({ name: trigger })
  assert.deepStrictEqual(kept.annotations, annotations)

  // Where a feed refuses, its client takes the trigger back.
  await refused(ow.feeds.create({ name, trigger, params: { refuses: 'CREATE' } }), 502, 'no CREATE')
  await refused(ow.feeds.create({ name: 'feeds/missing', trigger }), 404, 'does not exist')
  await ow.triggers.delete({ name: trigger })
  await refused(ow.triggers.get({ name: trigger }), 404, 'does not exist')
  await ow.actions.delete({ name })
  await ow.packages.delete({ name: 'feeds' })
}

/** Whoever asks again and again for what is new sees every activation, in time. */
async function polling () {
  await ow.actions.create({ name: 'polled', action: 'function main({ n }) { console.log(`call ${n}`); return {} }' })
  let since = Date.now()
  const seen = new Map()
  const expected = []
  for (let n = 0; n < 5; n++) {
    await ow.actions.invoke({ name: 'polled', params: { n } })
    expected.push(`call ${n}`)
    await eventually(async () => {
      for (const { activationId, start } of await ow.activations.list({ name: 'polled', since })) {
        const { logs } = await ow.activations.logs({ name: activationId })
        seen.set(activationId, logs[0].replace(/.* stdout: /, ''))
        since = Math.max(since, start)
      }
      return seen.size > n
    })
  }
  assert.deepStrictEqual([...seen.values()].sort(), expected)
  await ow.actions.delete({ name: 'polled' })
}

/** Ways to ask that no other part takes: several names at once, every form of a name, counts, whole namespaces. */
async function everythingElse () {
  const [namespace] = await ow.namespaces.list()
  await ow.packages.update({ name: 'more', package: { publish: true }, annotations: { of: 'more' } })
  await ow.actions.create({ name: 'more/bytes', action: Buffer.from('abcd'), kind: 'nodejs:default', version: '0.2.0' })
  await ow.actions.update({ name: 'more/bytes', params: { only: 'parameters' } })
  for (const name of ['more/bytes', '/_/more/bytes', `${namespace}/more/bytes`, `/${namespace}/more/bytes`]) {
    const { exec, version, parameters } = await ow.actions.get({ name })
    assert.deepStrictEqual([exec.code, exec.binary, version], ['YWJjZA==', true, '0.2.1'], name)
    assert.deepStrictEqual(parameters, [{ key: 'only', value: 'parameters' }])
  }
  const both = await ow.actions.get([own.action, { name: 'more/bytes' }])
  assert.deepStrictEqual(both.map(action => action.name), [own.action, 'bytes'])
  await refused(ow.actions.update({ name: 'unborn', params: {} }), 400, 'exec undefined')

  for (const collection of ['actions', 'triggers', 'rules', 'packages', 'activations']) {
    const { length } = await ow[collection].list({ limit: 0 })
    assert.deepStrictEqual(await ow[collection].list({ count: true, limit: 1 }), { [collection]: length })
    assert.strictEqual((await ow[collection].list({ limit: 1, skip: length })).length, 0)
  }
  const whole = await ow.namespaces.get('_')
  assert.deepStrictEqual(whole.packages.map(one => one.name).sort(), ['more', own.package])

  await ow.triggers.update({ name: 'quiet' })
  assert.strictEqual((await ow.triggers.invoke({ name: 'quiet' })).length, 0, 'no rule, no activation')
  assert.strictEqual(String(await ow.rules.enable({ name: own.rule })), 'OK')
  assert.strictEqual((await ow.rules.get({ name: own.rule })).status, 'active')
  const slashed = openwhisk({ apihost: `${apihost}/`, api_key: credentials, namespace })
  assert.strictEqual((await slashed.triggers.delete({ name: 'quiet' })).name, 'quiet')

  await ow.actions.create({ name: 'failing', action: 'function main({ error }) { return { error } }' })
  for (const [error, text] of [['no', 'no'], [{ error: 'inner' }, 'inner'], [{ statusCode: 404 }, 'status code: 404']]) {
    for (const result of [true, false]) {
      await refused(ow.actions.invoke({ name: 'failing', blocking: true, result, params: { error } }), 502, text)
    }
  }
  const deleted = await ow.actions.delete(['failing', 'more/bytes'])
  assert.deepStrictEqual(deleted.map(action => action.name), ['failing', 'bytes'])
  await ow.packages.delete({ name: 'more' })
}

async function farewell () {
  await ow.rules.delete({ name: own.rule })
  await ow.triggers.delete({ name: own.trigger })
  for (const name of ['s', 'shout', own.action, `${own.package}/${own.action}`]) await ow.actions.delete({ name })
  await ow.packages.delete({ name: own.package })
  assert.deepStrictEqual(await ow.actions.list(), [])
  await refused(ow.actions.get({ name: own.action }), 404, 'does not exist')
  const stranger = openwhisk({ apihost, api_key: credentials.replace(/.$/, '!') })
  await refused(stranger.actions.list(), 401, 'authentication is invalid')
}

async function main () {
  for (const part of [actions, sequences, triggers, feeds, polling, everythingElse, farewell]) {
    await part()
    console.log(part.name)
  }
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
