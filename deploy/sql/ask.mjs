// Asks an engine the queries of a folder and prints their answers as one JSON object:
// node ask.mjs duckdb|clickhouse PATH-OF-ITS-LIBRARY GLOB-OF-PARQUET FOLDER
// The libraries are @duckdb/node-api and chdb.
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';

const [engine, path, files, folder] = process.argv.slice(2);
const library = createRequire(import.meta.url)(path);
const engines = {
  async duckdb() {
    const connection = await (await library.DuckDBInstance.create(':memory:')).connect();
    return async (query) => (await connection.runAndReadAll(query)).getRowObjectsJson();
  },
  async clickhouse() {
    const session = new library.Session();
    return async (query) => session.query(query.replace(/;\s*$/, ''), 'JSONEachRow').split('\n').filter(Boolean).map(JSON.parse);
  },
};
const ask = await engines[engine]();
await ask(readFileSync(`${folder}/${engine}.sql`, 'utf8').replace('connections/**/*.parquet', files));
const answers = {};
for (const name of readdirSync(folder).filter((n) => /^\d\d-.*\.sql$/.test(n)).sort()) {
  answers[name.slice(0, 2)] = await ask(readFileSync(`${folder}/${name}`, 'utf8'));
}
console.log(JSON.stringify(answers));
