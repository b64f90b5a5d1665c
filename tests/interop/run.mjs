// Foreign clients, unmodified, against the sandbox at the address given: every line printed is something that works.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { auditServer } from 'graphql-http';
import { createClient as createSse } from 'graphql-sse';
import { createClient as createWs } from 'graphql-ws';
import WebSocket from 'ws';

const base = process.argv[2];
const http = `${base}/graphql`;
const ws = `${base.replace('http', 'ws')}/graphql/ws`;
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const done = (what) => console.log(`ok  ${what}`);

const ME = gql`query Me { me { id wallet { version points { available } } } }`;
const CHANGED = `subscription Changed($since: Long) {
  walletChanged(sinceVersion: $since) { version entry { points } wallet { points { available } } }
}`;
const ADJUST = gql`mutation Adjust($input: AdjustInput!) {
  adjustBalance(input: $input) { __typename ... on BalanceAdjusted { entry { points } } ... on Problem { message } }
}`;

async function ask(query, token) {
  const headers = { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(http, { method: 'POST', headers, body: JSON.stringify({ query }) });
  return answer.json();
}

function apollo(token, requests) {
  const headers = { authorization: `Bearer ${token}` };
  const counting = (url, options) => {
    requests.push({ method: options.method, url: String(url), body: options.body });
    return fetch(url, options);
  };
  const live = new GraphQLWsLink(
    createWs({ url: ws, webSocketImpl: WebSocket, connectionParams: { Authorization: `Bearer ${token}` } }),
  );
  const plain = new HttpLink({ uri: http, headers, fetch: counting });
  const persisted = new PersistedQueryLink({ sha256, useGETForHashedQueries: true }).concat(plain);
  const link = ApolloLink.split(
    ({ query }) => query.definitions.some((each) => each.operation === 'subscription'),
    live,
    persisted,
  );
  return new ApolloClient({ link, cache: new InMemoryCache() });
}

const { data: signedIn } = await ask(
  'mutation { sandboxSignIn(subject: "interop") { ... on Session { accessToken member { id } } } }',
);
const { accessToken, member } = signedIn.sandboxSignIn;
const { data: staff } = await ask('mutation { sandboxStaffToken(scopes: ["staff:adjust"]) }');
const adjust = (client, points) =>
  client.mutate({
    mutation: ADJUST,
    variables: { input: { member: member.id, points, reason: 'Interop', idempotencyKey: `interop-${points}` } },
  });

const requests = [];
const phone = apollo(accessToken, requests);
const office = apollo(staff.sandboxStaffToken, []);

const first = await phone.query({ query: ME, fetchPolicy: 'network-only' });
assert.equal(first.data.me.id, member.id);
assert.deepEqual(requests.map((each) => each.method), ['GET', 'POST']);
await phone.query({ query: ME, fetchPolicy: 'network-only' });
assert.deepEqual(requests.map((each) => each.method), ['GET', 'POST', 'GET']);
assert.ok(!requests[2].url.includes('query='));
done('@apollo/client: a query through its persisted-query link, by hash after the first time');

const adjusted = await adjust(office, 11);
assert.equal(adjusted.data.adjustBalance.entry.points, 11);
done('@apollo/client: a mutation through the same link');

const since = first.data.me.wallet.version;
const heard = new Promise((resolve, reject) => {
  const seen = [];
  const told = phone.subscribe({ query: gql(CHANGED), variables: { since } }).subscribe({
    next: ({ data }) => {
      seen.push(data.walletChanged);
      if (seen.length === 2) {
        told.unsubscribe();
        resolve(seen);
      }
    },
    error: reject,
  });
});
await adjust(office, 12);
assert.deepEqual((await heard).map((each) => each.entry.points), [11, 12]);
done('@apollo/client: a subscription over graphql-ws, what was missed first');

async function firstOf(client) {
  for await (const { data } of client.iterate({ query: CHANGED, variables: { since } })) return data.walletChanged;
}
const socket = createWs({
  url: ws,
  webSocketImpl: WebSocket,
  connectionParams: { Authorization: `Bearer ${accessToken}` },
  keepAlive: 100,
});
assert.equal((await firstOf(socket)).entry.points, 11);
await socket.dispose();
done('graphql-ws: a subscription, with keep-alive pings');

const events = createSse({ url: http, headers: { Authorization: `Bearer ${accessToken}` } });
assert.equal((await firstOf(events)).entry.points, 11);
events.dispose();
done('graphql-sse: a subscription in distinct connections mode');

const audits = await auditServer({ url: http });
assert.deepEqual(audits.filter((each) => each.status !== 'ok').map((each) => each.name), []);
assert.equal(audits.length, 61);
done('graphql-http: 61 audits of the server');
process.exit(0);
