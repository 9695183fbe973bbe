// IndexedDB under node, kept in a file: what the Rust crypto stores survives the process.
// Source: fake-indexeddb keeps it in memory; here every database is written out whole, and read in again.

import "fake-indexeddb/auto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { deserialize, serialize } from "node:v8";

const done = (request) =>
    new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });

async function dumpDatabase({ name, version }) {
    const database = await done(indexedDB.open(name, version));
    const stores = [];
    for (const storeName of database.objectStoreNames) {
        const store = database.transaction(storeName, "readonly").objectStore(storeName);
        const [keys, values] = await Promise.all([done(store.getAllKeys()), done(store.getAll())]);
        const indexes = [...store.indexNames].map((indexName) => {
            const { keyPath, unique, multiEntry } = store.index(indexName);
            return { name: indexName, keyPath, unique, multiEntry };
        });
        stores.push({ name: storeName, keyPath: store.keyPath, autoIncrement: store.autoIncrement, indexes, keys, values });
    }
    database.close();
    return { name, version, stores };
}

async function restoreDatabase({ name, version, stores }) {
    const request = indexedDB.open(name, version);
    request.onupgradeneeded = () => {
        for (const { name: storeName, keyPath, autoIncrement, indexes } of stores) {
            const store = request.result.createObjectStore(storeName, { keyPath, autoIncrement });
            for (const { name: indexName, keyPath: path, unique, multiEntry } of indexes) {
                store.createIndex(indexName, path, { unique, multiEntry });
            }
        }
    };
    const database = await done(request);
    for (const { name: storeName, keyPath, keys, values } of stores) {
        if (keys.length === 0) continue;
        const store = database.transaction(storeName, "readwrite").objectStore(storeName);
        await Promise.all(values.map((value, at) => done(keyPath === null ? store.put(value, keys[at]) : store.put(value))));
    }
    database.close();
}

/** Writes every database into `file`. */
export async function save(file) {
    const all = [];
    for (const each of await indexedDB.databases()) all.push(await dumpDatabase(each));
    writeFileSync(`${file}.new`, serialize(all), { mode: 0o600 });
    renameSync(`${file}.new`, file);
}

/** Reads in what `save` wrote, if it did. */
export async function load(file) {
    if (!existsSync(file)) return;
    for (const each of deserialize(readFileSync(file))) await restoreDatabase(each);
}
