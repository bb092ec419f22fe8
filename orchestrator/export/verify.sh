#!/bin/sh
# Verifies an export with stock tools only: sha256sum, ssh-keygen, base64. Not the Merkle tree: verify.py does that.
#
#   sh verify.sh [TRUSTED_KEY.pub]
#
# Exit: 0 genuine (signed by the trusted key, given from outside) · 1 consistent, not anchored (no key given) · 2 broken
# Vérifie un export avec les seuls outils du système. Code de retour : 0 authentique · 1 cohérent, non ancré · 2 altéré.
set -u
LC_ALL=C
export LC_ALL
trusted=
if [ $# -gt 0 ]; then
    trusted=$(awk '{ for (i = 1; i < NF; i++) if ($i ~ /^(ssh|ecdsa|sk)-/) { print $i, $(i + 1); exit } }' "$1")
    [ -n "$trusted" ] || { echo "no public key in $1"; exit 3; }
fi
cd "$(dirname "$0")" || exit 3
work=$(mktemp -d) || exit 3
trap 'rm -rf "$work"' EXIT
bad=0

broken() {
    echo "BROKEN: $1"
    bad=1
}

# armour FILE: SSH armour is malleable; only the form that ssh-keygen writes is taken
armour() {
    {
        echo '-----BEGIN SSH SIGNATURE-----'
        sed '1d;$d' "$1" | tr -d '\n' | base64 -d 2>/dev/null | base64 -w 70
        echo '-----END SSH SIGNATURE-----'
    } | cmp -s - "$1" || broken "$1: the signature is not in canonical armour"
}

# signature SIGNERS PERSON NAMESPACE FILE SIGNATURE [TIME]
signature() {
    armour "$5"
    ssh-keygen -Y verify -f "$1" -I "$2" -n "$3" -s "$5" ${6:+-O "verify-time=$6"} <"$4" >"$work/said" 2>&1 ||
        broken "$4: not signed by $2: $(head -n 1 "$work/said")"
}

# 1. digests: every file listed, every listed file present and unchanged
sha256sum --check --strict --quiet SHA256SUMS || broken "a file does not have the digest that SHA256SUMS gives"
sed 's/^[0-9a-f]*  //' SHA256SUMS | sort >"$work/listed"
find . ! -type d | sed 's,^\./,,' | grep -v -x -e SHA256SUMS -e SHA256SUMS.sig | sort >"$work/present"
diff "$work/listed" "$work/present" >"$work/different" ||
    broken "files that are missing (<) or were added (>): $(grep '^[<>]' "$work/different" | tr '\n' ' ')"

# 2. the site key signed the digests and the head of the log
key=$(cat site_key.pub)
if [ -n "$trusted" ] && [ "$key" != "$trusted" ]; then
    broken "site_key.pub: not the trusted key"
fi
echo "orchestrator ${trusted:-$key}" >"$work/site"
signature "$work/site" orchestrator orchestrator-export@v1 SHA256SUMS SHA256SUMS.sig
signature "$work/site" orchestrator orchestrator-checkpoint@v1 checkpoint checkpoint.sig

# 3. every vote was signed by its person, with a key that was valid then
tab=$(printf '\t')
votes=0
while IFS=$tab read -r number person time stage choice; do
    signature allowed_signers "$person" reconnect-approval@v1 "votes/$number.statement" "votes/$number.sig" "$time"
    votes=$((votes + 1))
done <votes/index.tsv
[ "$votes" -eq "$(find votes -name '*.statement' | wc -l)" ] || broken "votes/index.tsv: it does not list every vote"
[ "$(wc -l <events.jsonl)" -eq "$(sed -n 2p checkpoint)" ] || broken "events.jsonl: not as many events as the checkpoint says"

head -n 3 checkpoint
[ "$bad" -eq 0 ] || { echo "verdict: broken"; exit 2; }
[ -n "$trusted" ] || { echo "verdict: consistent, not anchored"; exit 1; }
echo "verdict: genuine"
