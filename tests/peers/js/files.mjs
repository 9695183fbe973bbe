// Encrypted attachments, by the specification ("Sending encrypted attachments"): AES-CTR-256, SHA-256.

import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";

const unpadded = (bytes, encoding = "base64") => Buffer.from(bytes).toString(encoding).replace(/=+$/, "");

/** Returns the ciphertext and the `file` object without its url. */
export function encryptFile(plain) {
    const key = randomBytes(32);
    const iv = Buffer.concat([randomBytes(8), Buffer.alloc(8)]);
    const cipher = createCipheriv("aes-256-ctr", key, iv);
    const data = Buffer.concat([cipher.update(plain), cipher.final()]);
    const hash = createHash("sha256").update(data).digest();
    const jwk = { kty: "oct", key_ops: ["encrypt", "decrypt"], alg: "A256CTR", k: unpadded(key, "base64url"), ext: true };
    return { data, file: { v: "v2", key: jwk, iv: unpadded(iv), hashes: { sha256: unpadded(hash) } } };
}

/** Returns the plaintext; throws when the hash does not fit. */
export function decryptFile(data, file) {
    const hash = unpadded(createHash("sha256").update(data).digest());
    if (hash !== file.hashes.sha256) throw new Error("the file's hash does not fit");
    const decipher = createDecipheriv("aes-256-ctr", Buffer.from(file.key.k, "base64url"), Buffer.from(file.iv, "base64"));
    return Buffer.concat([decipher.update(data), decipher.final()]);
}
