#!/bin/bash
# Runs in a Debian that systemd has booted, with the package installed: what the units promise.
set -euo pipefail
cd /root
file=/etc/evenkeel/evenkeel.yaml
say() { echo "units: $*"; }
die() { echo "units: $*" >&2; systemctl status --no-pager -l evenkeel >&2 || true; exit 1; }
main_pid() { systemctl show --property MainPID --value evenkeel; }
event() { journalctl --unit evenkeel --output cat --no-pager | grep -q "\"event\":\"$1\""; }
ask() { evenkeel bench "http://127.0.0.1:8080/$1" -n "${2:-1}" -c 1 -quiet; }
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do [ "$SECONDS" -lt "$end" ] || return 1; sleep 0.1; done
}

for n in 1 2; do
  systemd-run --quiet --unit "backend$n" evenkeel testserver --listen "127.0.0.1:808$n" --name "backend$n"
done
systemctl start evenkeel || die "it does not start"
[ "$(stat -c %U "/proc/$(main_pid)")" = evenkeel ] || die "not its own user"
ask '' 20 || die "no answers"
say "starts, as its user, and answers"

systemctl reload evenkeel || die "no reload"
cp "$file" kept
sed -i 's/round_robin/least_connections/' "$file"
systemctl reload evenkeel || die "a good file is not read"
wait_for 5 event config_reloaded || die "it was not read"
echo 'nonsense: 1' >>"$file"
if systemctl reload evenkeel 2>/dev/null; then die "a wrong file is a success"; fi
systemctl is-active --quiet evenkeel || die "a wrong file ended it"
cp kept "$file"
say "reload: a good file is read, a wrong one refused"

old="$(main_pid)"
ask delay/6s & before=$!
sleep 0.5
systemctl kill --signal USR2 --kill-whom=main evenkeel
changed() { [ "$(main_pid)" != "$old" ]; }
wait_for 20 changed || die "no new main process"
ask '' 5 || die "no answers after a handover"
ask delay/2s & after=$!
sleep 0.5
systemctl stop evenkeel
wait "$after" || die "a stop after a handover cut a request off"
wait "$before" || die "a stop after a handover cut a request of the old program off"
[ "$(systemctl show --property Result --value evenkeel)" = success ] || die "killed, not stopped"
say "handover, then stop: both drain"

systemctl start evenkeel.socket
evenkeel bench http://127.0.0.1:8080/ -z 8s -rate 100 -c 4 -disable-keepalive -quiet & load=$!
sleep 2
systemctl restart evenkeel
wait "$load" || die "with the socket of systemd a restart lost requests"
[ "$(systemctl show --property Result --value evenkeel)" = success ] || die "killed, not restarted"
systemctl stop evenkeel.socket evenkeel
say "socket: a restart under load loses nothing"
