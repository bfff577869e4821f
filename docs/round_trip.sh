#!/usr/bin/env bash
# From keys to a report that a court can read, on a real model: commit, serve, plan, collect, evidence, check, report.
#
#   TSA=https://tsa.example TSA_CERTS=roots.pem docs/round_trip.sh FOLDER
#
# TSA is an RFC 3161 timestamp authority, TSA_CERTS its root certificates in PEM. Run it in an environment with the
# extras lab, collect, evidence and report. MODEL is the teacher (default: the packaged SmolLM2-135M), QUESTIONS how
# many prompts are served, TOKENS the longest answer. Everything that is made lies in FOLDER.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${1:?usage: TSA=URL TSA_CERTS=FILE docs/round_trip.sh FOLDER}
MODEL=${MODEL:-smollm2}
QUESTIONS=${QUESTIONS:-60}
TOKENS=${TOKENS:-60}
PYTHON=${PYTHON:-python}
STAMP=(--tsa "${TSA:?an RFC 3161 timestamp authority}" --tsa-certs "${TSA_CERTS:?its root certificates, PEM}")
SHARES=fleet=0.75,account=0.125,leaf=0.125
mkdir -p "$OUT"
radiolabel() { "$PYTHON" -m verify "$@" >>"$OUT/log.jsonl"; }
say() { printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*" >&2; }

say "1. keys: a master, and a key to sign evidence with"
radiolabel key new -o "$OUT/master.key"
radiolabel key signer -o "$OUT/signer.pem"

say "2. the master is committed before a beacon round that nobody knows, and the epoch after it"
# drand's quicknet has a round every 3 seconds since 1692803367. Its value is on the network; where there is none, a
# random number stands for it, and a checker who looks the round up would see that.
round=$((($(date +%s) - 1692803367) / 3 + 4))
radiolabel commit master "$OUT/master.key" --path epoch/demo --shares $SHARES --accounts 64 --round $round \
  "${STAMP[@]}" -o "$OUT/master.json"
while [ "$(date +%s)" -lt $((1692803367 + 3 * (round - 1))) ]; do sleep 0.5; done
beacon=${BEACON_VALUE:-$(openssl rand -hex 32)}
radiolabel commit epoch "$OUT/master.key" --master "$OUT/master.json" --beacon-value "$beacon" "${STAMP[@]}" \
  -o "$OUT/epoch.json"
radiolabel key derive "$OUT/master.key" --path epoch/demo --shares $SHARES --beacon "$beacon" -o "$OUT/epoch.key"
radiolabel key derive "$OUT/epoch.key" --path epoch/demo/fleet -o "$OUT/fleet.key"
radiolabel key derive "$OUT/epoch.key" --path epoch/demo/coin -o "$OUT/coin.key"
radiolabel commit prove "$OUT/epoch.json" --key "$OUT/epoch.key" --path epoch/demo/fleet -o "$OUT/fleet-proof.json"

say "3. the teacher serves $QUESTIONS answers, each with a twin that nobody gets; the log of pairs is committed"
head -n "$QUESTIONS" demo/prompts.txt >"$OUT/served-prompts.txt"
radiolabel embed "$OUT/served-prompts.txt" --key "$OUT/epoch.key" --account 7 --model "$MODEL" --max-tokens "$TOKENS" \
  --batch-size 60 --twins 1 --twins-out "$OUT/pairs.jsonl" --tokenizer-out "$OUT/tokenizer.json" -o "$OUT/served.jsonl"
radiolabel redact "$OUT/pairs.jsonl" -o "$OUT/redacted-pairs.jsonl"
radiolabel commit log "$OUT/redacted-pairs.jsonl" --epoch "$OUT/epoch.json" "${STAMP[@]}" -o "$OUT/pairs-log.json"

say "4. somebody trains a student on what was served, and comes out with it"
sleep 3 # the authority's clock may be off by a second or two
released=$(date -u +%Y-%m-%dT%H:%M:%SZ)
"$PYTHON" -m demo.student "$OUT/served.jsonl" --model "$MODEL" --out "$OUT/student"

say "5. two plans, committed before anybody looks: one for the weights, one for the endpoint"
n=$(wc -l <"$OUT/redacted-pairs.jsonl")
radiolabel plan new --name weights --hypothesis twin --key "$OUT/epoch.key" --suspect student \
  --weights "$OUT/student/model.safetensors" --alpha 1e-6 --family weights --family endpoint --correction holm \
  --no-filters --input "pairs=$OUT/redacted-pairs.jsonl" --n "$n" --scores likelihoods --coins recomputed \
  --statistic sign --missing loss --reference "$MODEL" -o "$OUT/weights-draft.json"
radiolabel plan commit "$OUT/weights-draft.json" --register "$OUT/register.jsonl" "${STAMP[@]}" \
  -o "$OUT/weights-plan.json"
rm -f "$OUT/address"
"$PYTHON" -m demo.serve "$OUT/student" --ready "$OUT/address" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 600); do [ -s "$OUT/address" ] && break; sleep 0.2; done
asked=(--base-url "$(cat "$OUT/address")" --model student --repeat 1 --concurrency 8 --max-tokens "$TOKENS"
  --temperature 0.7)
tail -n 24 demo/prompts.txt >"$OUT/asked.txt"
radiolabel plan new --name endpoint --hypothesis closed --key "$OUT/fleet.key" --suspect student \
  "${asked[@]}" --prompts "$OUT/asked.txt" --system none --top-p endpoint --logprobs none \
  --alpha 1e-6 --family weights --family endpoint --correction holm --no-filters --no-inputs \
  --n "$(wc -l <"$OUT/asked.txt")" --tokenizer "$OUT/tokenizer.json" --decoys 1000 --repeated-windows skip \
  --pair-weights distinct --token-ids no --with-prompts no --served no --input-format jsonl \
  -o "$OUT/endpoint-draft.json"
radiolabel plan commit "$OUT/endpoint-draft.json" --register "$OUT/register.jsonl" "${STAMP[@]}" \
  -o "$OUT/endpoint-plan.json"

say "6. collect under the plan, and probe the weights; neither sees which member of a pair was served"
NO_PROXY=127.0.0.1 radiolabel collect "$OUT/asked.txt" "${asked[@]}" --plan "$OUT/endpoint-plan.json" \
  --register "$OUT/register.jsonl"   -o "$OUT/answers.jsonl"
kill $server
radiolabel probe --model "$OUT/student" --suspect student --reference "$MODEL" --dtype bfloat16 --pairs "$OUT/pairs.jsonl" \
  -o "$OUT/likelihoods.jsonl"

say "7. evidence: each plan is carried out as it says, and what came of it is signed"
chain=(--signer "$OUT/signer.pem" --register "$OUT/register.jsonl" --master "$OUT/master.json"
  --epoch "$OUT/epoch.json")
radiolabel evidence "$OUT/endpoint-plan.json" --input "input=$OUT/answers.jsonl" \
  --input "tokenizer=$OUT/tokenizer.json" --input "asked=$OUT/asked.txt" --key "$OUT/fleet.key" \
  --slot "$OUT/fleet-proof.json" --unrun "rest=the plan weights: its evidence is made beside this one" "${chain[@]}" \
  -o "$OUT/endpoint-evidence.json"
radiolabel evidence "$OUT/weights-plan.json" --input "pairs=$OUT/redacted-pairs.jsonl" \
  --input "likelihoods=$OUT/likelihoods.jsonl" --key "$OUT/coin.key" --log "pairs=$OUT/pairs-log.json" \
  --other "$OUT/endpoint-evidence.json" "${chain[@]}" -o "$OUT/weights-evidence.json"

say "8. what goes to the other side: evidence, inputs and the disclosed keys, and nothing else"
mkdir -p "$OUT/disclosed"
cp "$OUT"/{endpoint-evidence,weights-evidence}.json "$OUT"/{answers,redacted-pairs,likelihoods}.jsonl \
  "$OUT"/{tokenizer.json,asked.txt} "$OUT"/{fleet,coin}.key "$OUT/disclosed/"
trusted=(--signer "$OUT/signer.pem" --tsa-certs "$TSA_CERTS" --released "$released" --beacon-value "$beacon"
  --require plan --require register.5 --require measured --require derived --require decision)
radiolabel policy "${trusted[@]}" --require release.keys -o "$OUT/disclosed/policy.json"
radiolabel policy "${trusted[@]}" -o "$OUT/disclosed/second-policy.json" # the second checker reads no times

say "9. the other side checks, with this program and with a second one"
for name in endpoint:fleet weights:coin; do
  evidence=$OUT/disclosed/${name%:*}-evidence.json key=$OUT/disclosed/${name#*:}.key
  "$PYTHON" -m verify check "$evidence" --policy "$OUT/disclosed/policy.json" --inputs "$OUT/disclosed" \
    --key "$key" --format text >"$OUT/${name%:*}-check.txt"
  tail -n 2 "$OUT/${name%:*}-check.txt"
  "$PYTHON" docs/spec/check_evidence.py "$evidence" "$OUT/disclosed/second-policy.json" "$OUT/disclosed" "$key" \
    >"$OUT/${name%:*}-second-check.txt"
  tail -n 1 "$OUT/${name%:*}-second-check.txt"
  "$PYTHON" -m verify report "$evidence" --policy "$OUT/disclosed/policy.json" --inputs "$OUT/disclosed" \
    --key "$key" -o "$OUT/${name%:*}-report.html" >>"$OUT/log.jsonl"
done
say "reports: $OUT/weights-report.html and $OUT/endpoint-report.html"
