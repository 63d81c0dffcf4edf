/** What the entries of an outbox lie in: IndexedDB, or where there is none a store that ends with the page. */
export async function openStore(name, lost) {
  try {
    return new DatabaseStore(await openDatabase(lost), name);
  } catch {
    return new MemoryStore();
  }
}

function openDatabase(lost) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("antiphon", 1);
    request.onupgradeneeded = () => {
      const store = request.result.createObjectStore("outbox", { keyPath: "id", autoIncrement: true });
      store.createIndex("to", "to");
    };
    request.onsuccess = () => resolve(Object.assign(request.result, { onclose: lost }));
    request.onerror = () => reject(request.error);
  });
}

class DatabaseStore {
  persistent = true;
  #database;
  #name;

  constructor(database, name) {
    this.#database = database;
    this.#name = name;
  }

  add(entry) {
    return this.#do("readwrite", (store) => store.add({ ...entry, to: this.#name }));
  }

  delete(id) {
    return this.#do("readwrite", (store) => store.delete(id));
  }

  /** In the order in which they were added, by whatever tab. */
  all() {
    return this.#do("readonly", (store) => store.index("to").getAll(this.#name));
  }

  #do(mode, use) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction("outbox", mode);
      const request = use(transaction.objectStore("outbox"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

class MemoryStore {
  persistent = false;
  #entries = new Map();
  #lastId = 0;

  add(entry) {
    this.#entries.set(++this.#lastId, { ...entry, id: this.#lastId });
    return this.#lastId;
  }

  delete(id) {
    this.#entries.delete(id);
  }

  all() {
    return [...this.#entries.values()];
  }
}
