#!/usr/bin/env bash
# The Windows program of a release archive, run under Wine: from a console, and under Wine's Service
# Control Manager. It is not Windows (that is check-windows.ps1), but it is the program that is shipped.
#   .ci/check-wine.sh [ARCHIVE]        without one, scripts/release.sh makes it
# Needs wine 9 or newer (it brings bcryptprimitives.dll), curl, python3 and procps. It makes a prefix of
# Wine of its own, unless $WINEPREFIX names one. It has not been run yet.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

archive="${1:-}"
if [ -z "$archive" ]; then
  "$ROOT/scripts/release.sh" x86_64-pc-windows-gnu
  archive="$(echo "$ROOT"/dist/evenkeel-*-windows-gnu.zip)"
fi
work="$(mktemp -d)"
export WINEPREFIX="${WINEPREFIX:-$work/prefix}" WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=" DISPLAY=
folder="$WINEPREFIX/drive_c/ek v" other="$WINEPREFIX/drive_c/gobalance"
tidy_up() {
  code=$?
  [ "$code" -eq 0 ] || tail -n 20 "$work"/*.log "$folder"/*.log >&2 2>/dev/null || true
  wineserver -k 2>/dev/null || true
  wineserver -w 2>/dev/null || true
  rm -rf "$work" "$folder" "$other"
  [ "$code" -eq 0 ] || echo "check-wine: FAILED" >&2
}
trap tidy_up EXIT
say "$(wine --version)"
wineboot -i >"$work/boot.log" 2>&1
mkdir "$folder"
python3 -m zipfile -e "$archive" "$work"
cp "$work"/evenkeel-*/evenkeel.exe "$folder/"
cp "$work"/evenkeel-*/evenkeel.example.yaml "$folder/"

# Ports of our own: three backends, the balancer, its admin listener.
read -r b1 b2 b3 web admin < <(python3 -c '
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
print(*(it.getsockname()[1] for it in held))')
cat >"$folder/evenkeel.yaml" <<END
listeners: [{ name: web, bind: "127.0.0.1:$web" }]
pools: [{ name: default, backends: ["127.0.0.1:$b1", "127.0.0.1:$b2", "127.0.0.1:$b3"] }]
admin: { bind: "127.0.0.1:$admin" }
shutdown: { drain_timeout: 10s }
END

evenkeel() { wine 'C:\ek v\evenkeel.exe' "$@"; }
answers() { curl -sf -o "$work/answer" "http://127.0.0.1:$web/"; }
silent() { ! answers; }
ready() { curl -sf "http://127.0.0.1:$admin/readyz" >/dev/null; }
event() { grep -q "\"event\":\"$1\"" "$2"; }

evenkeel --version
evenkeel check -c 'C:\ek v\evenkeel.example.yaml'
if evenkeel check -c 'C:\ek v\nowhere.yaml' 2>"$work/missing"; then die "a missing file is no mistake"; fi
grep -q 'nowhere.yaml' "$work/missing" || die "the missing file is not named: $(cat "$work/missing")"
evenkeel completions powershell | grep -q Register-ArgumentCompleter || die "no completions"

for n in 1 2 3; do
  port="b$n"
  evenkeel testserver --listen "127.0.0.1:${!port}" --name "backend$n" >"$work/backend$n.log" 2>&1 &
done

# Where Wine shows a process of its own to Linux: what Ctrl-C reaches.
process() { pgrep -f "^C:.*evenkeel.exe $1" || pgrep -f "evenkeel.exe $1"; }

console() {
  evenkeel run -c 'C:\ek v\evenkeel.yaml' >"$work/console.log" 2>&1 &
  local balancer=$!
  wait_for 60 ready || die "it does not serve"
  evenkeel bench "http://127.0.0.1:$web/" -n 300 -c 10 -csv 'C:\r.csv' -out 'C:\s.json' -quiet
  evenkeel bench check -csv 'C:\r.csv' -expected 300 -tolerance 10% >/dev/null
  [ "$(grep -o '"backend[123]": 1[0-9][0-9]' "$WINEPREFIX/drive_c/s.json" | wc -l)" -eq 3 ] ||
    die "not every backend answered: $(cat "$WINEPREFIX/drive_c/s.json")"
  evenkeel status --admin "http://127.0.0.1:$admin" >/dev/null
  sed -i 's/drain_timeout: 10s/drain_timeout: 11s/' "$folder/evenkeel.yaml"
  wait_for 20 event config_reloaded "$work/console.log" || die "a changed file is not read"
  curl -sf "http://127.0.0.1:$web/delay/2s" -o "$work/slow" &
  local slow=$!
  sleep 0.5
  kill -INT "$(process run | tail -1)"
  wait "$slow" || die "Ctrl-C cut a request off"
  local code=0
  wait "$balancer" || code=$?
  [ "$code" -eq 0 ] || die "exit code $code after Ctrl-C"
  event stopped "$work/console.log" || die "it does not tell of a drain"
  say "console: 300 requests over three backends, a changed file, Ctrl-C drains, exit code 0"
}

service() {
  local log="$folder/evenkeel.log"
  if evenkeel service start 2>"$work/refused"; then die "a service that is not there was started"; fi
  grep -q 'evenkeel service install' "$work/refused" || die "$(cat "$work/refused")"
  (cd "$folder" && wine evenkeel.exe service install)
  if (cd "$folder" && wine evenkeel.exe service install 2>"$work/refused"); then die "installed twice"; fi
  grep -q 'evenkeel service uninstall' "$work/refused" || die "$(cat "$work/refused")"
  evenkeel service start
  wait_for 20 answers || die "the service does not serve"
  curl -sf "http://127.0.0.1:$web/delay/3s" -o "$work/slow" &
  local slow=$!
  sleep 0.5
  evenkeel service stop
  wait "$slow" || die "a stop cut a request off"
  event stopped "$log" || die "the log does not tell of a drain"
  silent || die "it serves after it was stopped"
  wine net start evenkeel
  wait_for 20 answers || die "net start: it does not serve"
  wine net stop evenkeel
  wait_for 20 silent || die "net stop: it still serves"
  printf 'nonsense: 1\n' >>"$folder/evenkeel.yaml"
  if evenkeel service start 2>"$work/refused"; then die "it starts with a mistake in its file"; fi
  grep -q 'nonsense' "$log" || die "the log does not tell the mistake"
  sed -i '$d' "$folder/evenkeel.yaml"
  evenkeel service uninstall
  say "service: installed, started, stopped with a drain, a mistake told in its log, uninstalled"
}

# As older instructions do it: another name, no words, the file in configs\ beside the program.
bare_service() {
  mkdir -p "$other/configs"
  cp "$folder/evenkeel.exe" "$other/gobalance.exe"
  cp "$folder/evenkeel.yaml" "$other/configs/config.yaml"
  wine sc create gobalance binPath= 'C:\gobalance\gobalance.exe' start= demand
  wine sc start gobalance
  wait_for 30 answers || die "gobalance.exe does not serve"
  wine sc stop gobalance
  wait_for 30 silent || die "gobalance.exe does not stop"
  wait_for 20 event stopped "$other/evenkeel.log" || die "its log does not tell of a drain"
  wine sc delete gobalance
  say "service without words: serves, stops"
}

console
service
bare_service
say "all holds"
