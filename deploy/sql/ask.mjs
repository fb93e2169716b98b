// Asks DuckDB the queries of a folder and prints their answers as one JSON object:
// node ask.mjs PATH-OF-@duckdb/node-api GLOB-OF-PARQUET FOLDER
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';

const [library, files, folder] = process.argv.slice(2);
const { DuckDBInstance } = createRequire(import.meta.url)(library);
const connection = await (await DuckDBInstance.create(':memory:')).connect();
const view = readFileSync(`${folder}/duckdb.sql`, 'utf8').replace('connections/**/*.parquet', files);
await connection.run(view);
const answers = {};
for (const name of readdirSync(folder).filter((n) => /^\d\d-.*\.sql$/.test(n)).sort()) {
  const reader = await connection.runAndReadAll(readFileSync(`${folder}/${name}`, 'utf8'));
  answers[name.slice(0, 2)] = reader.getRowObjectsJson();
}
console.log(JSON.stringify(answers));
