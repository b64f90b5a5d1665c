// Answers one document with Apollo Server from data in memory, by resolvers that only hand it down. Reads one JSON
// request a line from its input and answers each with one JSON line. The parent is benchmarks/home_screen.py.
//
//   {"sdl": "…", "query": "…", "data": {…}}    makes the server                -> {"data": …}
//   {"seconds": 1.0}                            one query after the other       -> {"queries", "cpu_seconds"}

import { createInterface } from "node:readline";
import { ApolloServer } from "@apollo/server";

let server;
let query;

async function ask() {
  const { body } = await server.executeOperation({ query });
  return body.singleResult;
}

async function prepare(request) {
  query = request.query;
  server = new ApolloServer({ typeDefs: request.sdl, resolvers: { Query: { me: () => request.data.me } } });
  await server.start();
  return await ask();
}

async function drive(seconds) {
  const cpu = process.cpuUsage();
  const end = performance.now() + seconds * 1000;
  let queries = 0;
  while (performance.now() < end) {
    await ask();
    queries += 1;
  }
  const used = process.cpuUsage(cpu);
  return { queries, cpu_seconds: (used.user + used.system) / 1e6 };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const answer = request.sdl ? await prepare(request) : await drive(request.seconds);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
