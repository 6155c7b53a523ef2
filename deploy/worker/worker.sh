#!/bin/sh
# An example of a worker's command, in any language: a file in, a file out, an exit code. The payload is JSON like
# {"text":"alpha"}; the result is its text in capitals.
set -eu
text=$(sed -n 's/.*"text" *: *"\([^"]*\)".*/\1/p' "$WORK_ITEM_FILE")
# 65: a payload that no other attempt would make good. The queue keeps it as a dead letter.
[ -n "$text" ] || { echo "the payload has no text" >&2; exit 65; }
# result.json is the job's result and needs no blob store; any other file would be uploaded to one (QUORATE_BLOBS).
printf '"%s"\n' "$(echo "$text" | tr '[:lower:]' '[:upper:]')" > "$WORK_OUTPUT_DIR/result.json"
echo "done 1/1" > "$WORK_PROGRESS_FILE"
