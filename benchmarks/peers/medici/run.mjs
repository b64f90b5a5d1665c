// Drives medici as its README recommends for an account that must not go below zero: one MongoDB transaction with
// the entry, the balance after it, and the write lock of the account last. Reads one JSON request a line from its
// input and answers each with one JSON line. The parent is benchmarks/ledger.py; it gives the server's address.
//
//   {"members": 2000}                    makes that many accounts with a balance   -> {"ready": true}
//   {"callers": 32, "seconds": 3.0}      a closed loop of so many callers          -> {"commands", "seconds", …}

import { createInterface } from "node:readline";
import { Book, initModels, mongoTransaction, syncIndexes } from "medici";
import mongoose from "mongoose";

const [url, spendingShare, refusedShare] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const DURABLE = { w: "majority", journal: true };
const REFUSED = new Error("not enough balance");

// Without snapshots of balances: with them medici reads, by a hint to the index of ids, past all that anybody posted
// since the account's snapshot; without them it reads the account's own index.
const book = new Book("wallet", { balanceSnapshotSec: 0 });
let members = 0;

async function post(account, amount) {
  const entry = book.entry(amount < 0 ? "Spend" : "Purchase");
  const [from, to] = amount < 0 ? [account, "Merchant"] : ["Programme", account];
  entry.debit(from, Math.abs(amount)).credit(to, Math.abs(amount));
  await mongoTransaction(
    async (session) => {
      await entry.commit({ session });
      const { balance } = await book.balance({ account }, { session });
      if (balance < 0) throw REFUSED;
      await book.writelockAccounts([account], { session });
    },
    { readConcern: { level: "snapshot" }, writeConcern: DURABLE },
  );
}

async function prepare(count) {
  await initModels();
  await syncIndexes({ background: false });
  members = count;
  let next = 0;
  const enrol = async () => {
    while (next < count) {
      const account = `Members:${next++}`;
      await book.entry("Joined").debit("Programme", 1_000_000).credit(account, 1_000_000).commit();
    }
  };
  await Promise.all(Array.from({ length: 16 }, enrol));
  return { ready: true };
}

async function drive(callers, seconds) {
  const latencies = [];
  const counts = { refused: 0, failed: 0 };
  const cpu = process.cpuUsage();
  const begun = performance.now();
  const end = begun + seconds * 1000;
  const call = async () => {
    for (let at = performance.now(); at < end; at = performance.now()) {
      const account = `Members:${Math.floor(Math.random() * members)}`;
      const chance = Math.random();
      const amount = chance < refusedShare ? -1e12 : chance < refusedShare + spendingShare ? -100 : 12;
      try {
        await post(account, amount);
      } catch (error) {
        if (error !== REFUSED) counts.failed += 1;
        else counts.refused += 1;
      }
      latencies.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  const elapsed = (performance.now() - begun) / 1000;
  const used = process.cpuUsage(cpu);
  return { ...counts, seconds: elapsed, cpu_seconds: (used.user + used.system) / 1e6, latencies_ms: latencies };
}

await mongoose.connect(url, { dbName: "medici", writeConcern: DURABLE });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const answer = request.members ? await prepare(request.members) : await drive(request.callers, request.seconds);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await mongoose.disconnect();
