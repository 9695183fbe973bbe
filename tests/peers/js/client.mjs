// The process of a matrix-js-sdk client with the Rust crypto: requests come as JSON lines on stdin, answers and
// events go to stdout. tests/peers/rust.py and bridge_core.demo.peers.peer drive it and say what the verbs promise.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { decryptFile, encryptFile } from "./files.mjs";
import { load, save } from "./store.mjs";

// stdout is the wire: whatever a library prints goes to stderr.
for (const name of ["log", "info", "debug", "trace", "warn"]) console[name] = console.error;

// Of ES2024 the library uses only this; with it, node 20 runs what asks for 22.
Promise.withResolvers ??= function () {
    const parts = {};
    parts.promise = new this((resolve, reject) => Object.assign(parts, { resolve, reject }));
    return parts;
};

const sdk = await import("matrix-js-sdk");
const { CryptoEvent, EventShieldColour, EventShieldReason, ...cryptoApi } = await import("matrix-js-sdk/lib/crypto-api/index.js");
const { logger } = await import("matrix-js-sdk/lib/logger.js");
logger.setLevel?.("warn");

const [url, folder] = process.argv.slice(2);
const databases = join(folder, "databases");
const credentials = join(folder, "credentials.json");
const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const nameOf = (names, value) => Object.keys(names).find((key) => names[key] === value) ?? String(value);

let client;
let holding = false;
let held = [];

/** fetch, except that encrypted to-device messages can be held back as if they were lost on their way for a time. */
async function heldFetch(input, init) {
    if (holding && String(input).includes("/sendToDevice/m.room.encrypted/")) {
        held.push([input, { ...init, signal: undefined }]);
        return new Response("{}", { status: 200, headers: { "Content-Type": "application/json" } });
    }
    return fetch(input, init);
}

async function shieldOf(event) {
    const info = await client.getCrypto().getEncryptionInfoForEvent(event);
    if (info === null) return null;
    return {
        colour: nameOf(EventShieldColour, info.shieldColour).toLowerCase(),
        reason: info.shieldReason === null ? null : nameOf(EventShieldReason, info.shieldReason),
    };
}

async function tell(event) {
    if (!event.getId() || event.isSending() || event.getId().startsWith("~")) return;
    if (event.isEncrypted() && event.isBeingDecrypted()) await event.getDecryptionPromise();
    const failed = event.isEncrypted() && (event.isDecryptionFailure() || event.getType() === "m.room.encrypted");
    const wire = event.getWireContent();
    const relation = wire["m.relates_to"];
    write({
        event: {
            room_id: event.getRoomId(),
            event_id: event.getId(),
            sender: event.getSender(),
            kind: failed ? "m.room.encrypted" : event.getType(),
            content: failed ? wire : { ...event.getContent(), ...(relation ? { "m.relates_to": relation } : {}) },
            state_key: event.getStateKey() ?? null,
            redacts: event.getAssociatedId() && event.isRedaction() ? event.getAssociatedId() : null,
            encrypted: event.isEncrypted(),
            failure: failed ? (event.decryptionFailureReason ?? "not decrypted") : null,
            shield: event.isEncrypted() && !failed ? await shieldOf(event) : null,
        },
    });
}

async function judgeAnew(users) {
    for (const room of client.getRooms()) {
        for (const event of room.getLiveTimeline().getEvents()) {
            if (event.isEncrypted() && users.includes(event.getSender())) await tell(event);
        }
    }
}

const synced = () =>
    new Promise((resolve) => {
        if (client.isInitialSyncComplete()) return resolve();
        client.on(sdk.ClientEvent.Sync, (state) => (state === "PREPARED" || state === "SYNCING") && resolve());
    });

async function inRoom(room) {
    while (client.getRoom(room)?.getMyMembership() !== "join") {
        await new Promise((resolve) => client.once(sdk.ClientEvent.Sync, resolve));
    }
}

const verbs = {
    async login({ user, password, device = null, cross_sign = true }) {
        mkdirSync(folder, { recursive: true });
        let known;
        if (existsSync(credentials)) {
            known = JSON.parse(readFileSync(credentials, "utf8"));
        } else {
            const answer = await sdk.createClient({ baseUrl: url }).loginRequest({
                type: "m.login.password",
                identifier: { type: "m.id.user", user },
                password,
                initial_device_display_name: "js-sdk",
                ...(device ? { device_id: device } : {}),
            });
            known = { user_id: answer.user_id, device_id: answer.device_id, access_token: answer.access_token };
            writeFileSync(credentials, JSON.stringify(known), { mode: 0o600 });
        }
        await load(databases);
        client = sdk.createClient({
            baseUrl: url,
            userId: known.user_id,
            deviceId: known.device_id,
            accessToken: known.access_token,
            fetchFn: heldFetch,
            timelineSupport: true,
        });
        client.on(sdk.RoomEvent.Timeline, (event, room, toStart, removed, data) => !toStart && !removed && tell(event));
        client.on(sdk.RoomEvent.LocalEchoUpdated, (event) => tell(event));
        client.on(sdk.MatrixEventEvent.Decrypted, (event) => tell(event));
        client.on(CryptoEvent.DevicesUpdated, (users) => judgeAnew(users));
        client.on(CryptoEvent.UserTrustStatusChanged, (user) => judgeAnew([user]));
        await client.initRustCrypto({ cryptoDatabasePrefix: "peer" });
        await client.startClient({ initialSyncLimit: 200, pollTimeout: 20000 });
        await synced();
        const crypto = client.getCrypto();
        if (cross_sign && !(await crypto.isCrossSigningReady())) {
            const auth = { type: "m.login.password", identifier: { type: "m.id.user", user }, password };
            await crypto.bootstrapCrossSigning({
                authUploadDeviceSigningKeys: (make) => make(null).catch((error) => make({ ...auth, session: error.data?.session })),
            });
        }
        return { user_id: known.user_id, device_id: known.device_id, ...(await crypto.getOwnDeviceKeys()) };
    },
    async create({ options }) {
        const room = (await client.createRoom(options)).room_id;
        await inRoom(room);
        return room;
    },
    async join({ room }) {
        const id = (await client.joinRoom(room)).roomId;
        await inRoom(id);
        return id;
    },
    async send({ room, content, kind }) {
        await inRoom(room);
        return (await client.sendEvent(room, kind, content)).event_id;
    },
    async redact({ room, event, reason }) {
        return (await client.redactEvent(room, event, undefined, reason ? { reason } : undefined)).event_id;
    },
    async file({ room, data, content }) {
        const { data: secret, file } = encryptFile(Buffer.from(data, "base64"));
        const { content_uri } = await client.uploadContent(new Blob([secret]), { type: "application/octet-stream", includeFilename: false });
        return verbs.send({ room, kind: "m.room.message", content: { ...content, file: { ...file, url: content_uri } } });
    },
    async download({ file }) {
        const address = client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
        const answer = await fetch(address, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
        if (!answer.ok) throw new Error(`download answered ${answer.status}`);
        return decryptFile(Buffer.from(await answer.arrayBuffer()), file).toString("base64");
    },
    async members({ room }) {
        return Object.keys((await client.getJoinedRoomMembers(room)).joined).sort();
    },
    async devices({ user }) {
        const devices = (await client.getCrypto().getUserDeviceInfo([user], true)).get(user) ?? new Map();
        const all = {};
        for (const [id, device] of devices) {
            const trust = await client.getCrypto().getDeviceVerificationStatus(user, id);
            all[id] = { ed25519: device.getFingerprint(), curve25519: device.getIdentityKey(), signed: trust.signedByOwner };
        }
        return all;
    },
    async identity({ user }) {
        const crypto = client.getCrypto();
        const status = await crypto.getUserVerificationStatus(user);
        return { exists: await crypto.userHasCrossSigningKeys(user, true), verified: status.isVerified(), changed: status.needsUserApproval };
    },
    async discard({ room }) {
        await client.getCrypto().forceDiscardSession(room);
    },
    async isolate({ on }) {
        const { AllDevicesIsolationMode, OnlySignedDevicesIsolationMode } = cryptoApi;
        client.getCrypto().setDeviceIsolationMode(on ? new OnlySignedDevicesIsolationMode() : new AllDevicesIsolationMode(true));
    },
    async withhold({ on }) {
        client.getCrypto().globalBlacklistUnverifiedDevices = on;
    },
    async restore({ key, version }) {
        const crypto = client.getCrypto();
        await crypto.storeSessionBackupPrivateKey(cryptoApi.decodeRecoveryKey(key), version);
        return crypto.restoreKeyBackup();
    },
    async hold() {
        holding = true;
    },
    async release() {
        holding = false;
        const sending = held;
        held = [];
        for (const [input, init] of sending) {
            const answer = await fetch(input, init);
            if (!answer.ok) throw new Error(`to-device answered ${answer.status}`);
        }
        return sending.length;
    },
    async save() {
        await save(databases);
    },
    async close() {
        client.stopClient();
        await save(databases);
    },
};

process.on("unhandledRejection", (error) => console.error("unhandled", error));
for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    verbs[request.do](request.with).then(
        (ok) => write({ id: request.id, ok: ok ?? null }),
        (error) => write({ id: request.id, error: error?.message ?? String(error) }),
    );
}
process.exit(0);
