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

systemctl start evenkeel
old="$(main_pid)"
evenkeel bench http://127.0.0.1:8080/ -z 8s -rate 100 -c 4 -disable-keepalive -quiet & load=$!
sleep 2
dpkg -i /root/evenkeel.deb >/dev/null || die "it is not upgraded"
wait "$load" || die "an upgrade of the package lost requests"
changed || die "an upgrade of the package left the program before it"
old="$(main_pid)"
cp "$file" kept
echo 'nonsense: 1' >>"$file"
dpkg -i /root/evenkeel.deb >told 2>&1 || die "it is not upgraded"
grep -q 'serves on' told || die "nobody said that the new program does not take the file"
[ "$(main_pid)" = "$old" ] || die "an upgrade that the file does not hold for ended it"
ask '' 5 || die "no answers after an upgrade that the file does not hold for"
cp kept "$file"
systemctl stop evenkeel
say "upgrade of the package: under load it loses nothing, and with a wrong file changes nothing"

systemctl start evenkeel.socket
evenkeel bench http://127.0.0.1:8080/ -z 8s -rate 100 -c 4 -disable-keepalive -quiet & load=$!
sleep 2
systemctl restart evenkeel
wait "$load" || die "with the socket of systemd a restart lost requests"
[ "$(systemctl show --property Result --value evenkeel)" = success ] || die "killed, not restarted"
systemctl stop evenkeel.socket evenkeel
say "socket: a restart under load loses nothing"

log=/var/log/evenkeel/evenkeel.log
cp "$file" kept
echo "logging: { file: $log }" >>"$file"
systemctl start evenkeel
ask before
logged() { grep -q "\"path\":\"/$1\"" "$2"; }
wait_for 5 logged before "$log" || die "no log file"
logrotate --force /etc/logrotate.d/evenkeel || die "logrotate fails"
ask after
wait_for 5 logged after "$log" || die "after a rotation the log is not opened anew"
logged before "$log.1" || die "the log was not rotated"
! logged after "$log.1" || die "the old log is still written"
[ "$(stat -c %U:%a "$log")" = evenkeel:640 ] || die "the new log has other rights: $(stat -c %U:%a "$log")"
cp kept "$file"
systemctl stop evenkeel
say "logrotate: the log is renamed and opened anew"
