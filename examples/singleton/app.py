#!/usr/bin/env python3
"""One copy of an application that must write alone: plain HTTP and SQLite, no library.

It campaigns, and while it leads it appends rows to a table. Two things keep copies from writing side by
side: it looks at the clock before each write, and each write carries the fencing token, which the table
refuses once it has seen a newer one. The first fails when the process is stopped between the look and the
write; the second never does.
"""

import argparse
import json
import sqlite3
import sys
import time
import urllib.error
import urllib.request

# The statement of quorate's SQL guard: changes one row, or none when the token is stale.
RAISE = """
INSERT INTO quorate_fence (resource, token) VALUES ('journal', ?)
    ON CONFLICT (resource) DO UPDATE SET token = excluded.token
    WHERE excluded.token >= quorate_fence.token
"""


def now():
    """Seconds of the clock that counts suspended time, as leases need it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(*words):
    print(*words, flush=True)


class Stale(Exception):
    """The table has seen a newer token."""


def call(args, method, path, body, timeout):
    request = urllib.request.Request(
        f"{args.api}/v1/elections/{args.election}/candidates/{args.id}{path}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


def campaign(args):
    """Waits for leadership; the answer and until when it may be believed."""
    session = None
    while True:
        body = {"wait_ms": 2000}
        body.update({"session": session} if session else {"ttl_ms": args.ttl_ms})
        sent = now()
        try:
            answer = call(args, "PUT", "", body, timeout=10)
        except urllib.error.HTTPError as refusal:
            say("refused", json.load(refusal).get("code"))
            session = None
            time.sleep(0.2)
            continue
        except OSError:
            session = None
            time.sleep(0.2)
            continue
        session = answer["session"]
        if answer["self"] == "leader":
            return answer, sent + answer["valid_for_ms"] / 1000


def write(db, token, row):
    """Appends a row in one transaction with the check of the token."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if db.execute(RAISE, (token,)).rowcount != 1:
            raise Stale()
        if row is not None:
            db.execute("INSERT INTO journal (token, seq, writer) VALUES (?, ?, ?)", row)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def lead(args, db, answer, until):
    """Writes while this copy leads."""
    token, session = answer["fencing_token"], answer["session"]
    write(db, token, None)  # seal before reading: what is read is the last word of all older leaders
    seq = db.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()[0]
    say("leading", token)
    trust = args.ttl_ms / 1000
    while True:
        if until - now() < trust * 2 / 3:
            sent = now()
            try:
                renewed = call(args, "POST", "/renew", {"session": session}, timeout=max(until - now(), 0.05))
                if renewed["self"] == "leader" and renewed["fencing_token"] == token:
                    until = sent + renewed["valid_for_ms"] / 1000
                else:
                    return say("lost", token)
            except urllib.error.HTTPError:
                return say("lost", token)
            except OSError:
                pass  # the clock decides
        if now() >= until:
            return say("expired", token)
        time.sleep(args.think_ms / 1000)  # a process stopped here wakes up believing that it leads
        seq += 1
        write(db, token, (token, seq, args.id))
        time.sleep(args.rest_ms / 1000)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--api", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--db", required=True)
    parser.add_argument("--election", default="singleton")
    parser.add_argument("--ttl-ms", type=int, default=1000)
    parser.add_argument("--think-ms", type=int, default=10)
    parser.add_argument("--rest-ms", type=int, default=5)
    args = parser.parse_args()
    db = sqlite3.connect(args.db, timeout=30, isolation_level=None)
    while True:
        answer, until = campaign(args)
        try:
            lead(args, db, answer, until)
        except Stale:
            say("stale", answer["fencing_token"])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
