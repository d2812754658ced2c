// SPDX-License-Identifier: Apache-2.0
// Says which version a unit gets, by a target's config/routes.json. Node or a browser.
//
//     const routes = new Routes(JSON.parse(text));
//     routes.version('fraud', 'C123');         // 4
//     routes.mirror('fraud', 'C123');          // 5, or null
//
// As a program: node routes.js FILE MODEL < units, one a line; prints a version a line;
// with a third argument, mirror: the version that gets a copy, or 0.
'use strict';

const MULTIPLIER = 0x5bd1e995;

// MurmurHash2, 32 bit, seed 0, of a Uint8Array.
function murmur2(data) {
    const whole = data.length - (data.length % 4);
    let value = data.length;
    for (let i = 0; i < whole; i += 4) {
        const word = Math.imul(
            data[i] | (data[i + 1] << 8) | (data[i + 2] << 16) | (data[i + 3] << 24), MULTIPLIER);
        value = Math.imul(value, MULTIPLIER) ^ Math.imul(word ^ (word >>> 24), MULTIPLIER);
    }
    if (whole < data.length) {
        for (let i = whole; i < data.length; i++) value ^= data[i] << (8 * (i - whole));
        value = Math.imul(value, MULTIPLIER);
    }
    value = Math.imul(value ^ (value >>> 13), MULTIPLIER);
    return (value ^ (value >>> 15)) >>> 0;
}

// Where a unit stands on the line of hashes; null: it is empty.
function placeOf(unit, text) {
    const bytes = typeof unit === 'string' ? new TextEncoder().encode(unit) : unit;
    const salt = new TextEncoder().encode(text);
    if (bytes.length === 0) return null;
    const all = new Uint8Array(bytes.length + salt.length);
    all.set(bytes);
    all.set(salt, bytes.length);
    return murmur2(all);
}

class Routes {
    constructor(doc) {
        if (doc.routes !== 1 || doc.hash !== 'murmur2-32')
            throw new Error('not a routes.json that this reader knows');
        this.models = new Map();
        for (const m of doc.models) {
            let last = 0;
            for (const v of m.versions) {
                if (!(v.below >= last)) throw new Error(`${m.name}: its versions stand in no order`);
                last = v.below;
            }
            if (last !== 2 ** 32) throw new Error(`${m.name}: its versions do not cover the line`);
            this.models.set(m.name, m);
        }
    }

    #model(name) {
        const m = this.models.get(name);
        if (!m) throw new Error(`no model ${name}`);
        return m;
    }

    // unit: a Uint8Array, or text (its UTF-8). Empty: the stable version.
    version(model, unit) {
        const m = this.#model(model);
        const place = placeOf(unit, m.salt);
        return place === null ? m.stable : m.versions.find((v) => place < v.below).version;
    }

    // The version that gets a copy of this unit's requests (its answers are thrown away), or null.
    mirror(model, unit) {
        const m = this.#model(model).mirror;
        const place = m ? placeOf(unit, m.salt) : null;
        return place !== null && place < m.below ? m.version : null;
    }
}

if (typeof module !== 'undefined') {
    module.exports = { Routes, murmur2 };
    if (require.main === module) {
        const fs = require('fs');
        const [file, model, what] = process.argv.slice(2);
        if (!model || process.argv.length > 5 || (what && what !== 'mirror')) {
            console.error('usage: node routes.js FILE MODEL [mirror] < units');
            process.exit(2);
        }
        const routes = new Routes(JSON.parse(fs.readFileSync(file, 'utf8')));
        const input = fs.readFileSync(0);
        const out = [];
        for (let from = 0; from < input.length;) {
            let to = input.indexOf(10, from);
            if (to < 0) to = input.length;
            const unit = input.subarray(from, to);
            out.push(what ? routes.mirror(model, unit) || 0 : routes.version(model, unit));
            from = to + 1;
        }
        fs.writeSync(1, out.length ? out.join('\n') + '\n' : '');
    }
}
