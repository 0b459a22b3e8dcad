# Detached runs in units of their own: who runs them, what they outlive, what ends them, what they cannot reach.
# rig: -t 400
. /root/lib.sh

{
  printf '[tasks]\ngenerator = "slow"\nretry = { initial = "200ms", factor = 1.0, max = "200ms", jitter = 0.0 }\n'
  printf '[polling]\ninterval = "1s"\n'
  blocking_configuration
  for name in node spy; do
    printf '[generators.%s.submit]\nrun = ["/usr/local/bin/%s", "{file:topic}"]\ncontent = "text"\n' $name $name
  done
  printf '[generators.node]\nsecrets = { NODE_SECRET = "llm-key" }\n'
  printf '[generators.stubborn]\ngrace = "5s"\n[generators.stubborn.submit]\nrun = ["/usr/local/bin/stubborn"]\ncontent = "text"\n'
} >/root/contentd.toml
write_slow_writer
cat >/usr/local/bin/node <<'JS'
#!/usr/bin/node
const fs = require('fs'), os = require('os'), { execFileSync } = require('child_process')
let sum = 0
for (let i = 0; i < 5e6; i++) sum += Math.sqrt(i) // long enough to be compiled
fs.writeFileSync('note', String(sum))
new Worker_().run()
function Worker_() { this.run = () => os.networkInterfaces() }
console.log('# A piece of node about ' + fs.readFileSync(process.argv[2], 'utf8'))
console.log(`cpus ${os.cpus().length > 0}, child ${execFileSync('/bin/echo', ['works']).toString().trim()}`)
console.log(`home ${process.env.HOME === process.cwd()}, secret ${process.env.NODE_SECRET.length}`)
JS
cat >/usr/local/bin/spy <<'SH'
#!/bin/bash
exec 2>&1
echo "a piece by a spy, with all that it could find"
tries() { if "${@:2}" >/tmp/out 2>&1; then echo "OPEN: $1"; head -c 200 /tmp/out; else echo "shut: $1"; fi; }
tries "database" cat /var/lib/contentd/contentd.db
tries "calls" ls /var/lib/contentd/calls
tries "list of runs" ls /var/lib/contentd/runs/v1
tries "control socket" socat -u OPEN:/dev/null UNIX-CONNECT:/run/contentd/contentd.sock
tries "run socket" socat -u OPEN:/dev/null UNIX-CONNECT:/run/contentd-run/run.sock,socktype=5
tries "message bus" socat -u OPEN:/dev/null UNIX-CONNECT:/run/dbus/system_bus_socket
tries "credentials" cat /run/credentials/contentd.service/llm-key
tries "credential store" cat /etc/credstore/contentd.llm-key
tries "write to /etc" touch /etc/spied
tries "lock of its run taken away" mv "$(dirname "$(dirname "$1")")/lock" /tmp/lock
tries "request of its run rewritten" sh -c "echo >'$(dirname "$(dirname "$1")")/request.json'"
tries "a run started" mkdir /var/lib/contentd/runs/v1/0123
tries "processes of others" sh -c 'ps -e -o args= | grep -E "slow-writer|usr/bin/contentd$" | grep -v grep'
echo "bounding $(sed -n 's/^CapBnd:\s*//p' /proc/self/status), seccomp $(sed -n 's/^Seccomp:\s*//p' /proc/self/status)"
# What the daemon's user cannot remove, and what must not hold it up.
run=$(dirname "$(dirname "$1")")
mkdir -p "$run/mine/deep" && touch "$run/mine/deep/file" && chmod 700 "$run/mine" "$run/mine/deep"
mkfifo "$run/pipe"
for n in $(seq 30); do (sleep 0.01 &); done
sleep 1
echo "zombies $(ps -e -o stat= | grep -c Z)"
SH
cat >/usr/local/bin/stubborn <<'SH'
#!/bin/sh
trap '' TERM
echo stubborn >>starts
while :; do sleep 0.2; done
SH
chmod 755 /usr/local/bin/*
install_files /root/contentd.toml
mkdir -p /etc/credstore && printf 'sk-0123456789\n' >/etc/credstore/contentd.llm-key && chmod 600 /etc/credstore/contentd.llm-key
systemctl start contentd.socket contentd-run.socket
contentctl account add --name blog >/dev/null

starts=/var/lib/contentd/generators/slow/starts
units() { systemctl list-units --plain --no-legend --state=active,deactivating 'contentd-run@*' | awk '{ print $1 }'; }
unit_of() { for unit in $(units); do case $(p StatusText "$unit") in "$1,"*) echo "$unit" ;; esac; done; }
submit() { ctl submit --account blog --topic "$@" | field .task_id; }
state() { ctl status "$1" | field .state; }
error() { ctl status "$1" | field '.error // .reason'; }
until_state() { until_ "[ \$(state $1) = $2 ]" "${3:-30}"; }
started() { grep -cxF "$1" $starts 2>/dev/null; }

h "a run in a unit of its own"
first=$(submit "seconds:600 first")
ok "it runs" 'until_state $first processing && until_ "[ -n \"\$(unit_of $first)\" ]"'
unit=$(unit_of "$first")
main=$(p MainPID "$unit")
writer=$(pgrep -o -f 'slow-writer seconds:600 first')
ok "as its own user and group" '[ "$(stat -c %U:%G /proc/$main)" = contentd-run:contentd-run ] && [ "$(stat -c %U:%G /proc/$writer)" = contentd-run:contentd-run ]'
ok "in its own cgroup" 'grep -q "contentd-run.slice/$unit\$" /proc/$writer/cgroup'
ok "the daemon has no child" '[ -z "$(pgrep -P "$(p MainPID)")" ]'
ok "systemctl status names the task" 'systemctl status "$unit" --no-pager | grep -q "Status: \"$first, generator slow\""'
ok "so does the journal, by the task's field" '[ "$(journalctl -o json TASK_ID=$first _COMM=contentd-run | jq -r ._SYSTEMD_UNIT | head -n 1)" = "$unit" ]'
ok "the command's output stays out of the journal" '! journalctl -o cat | grep -q "writing about seconds:600 first"'

h modes
run=$(ls -d /var/lib/contentd/runs/v1/*)
mode() { stat -c '%a %U:%G' "$1"; }
ok "the state is private" '[ "$(mode /var/lib/contentd)" = "710 contentd:contentd-run" ] && [ "$(stat -c %a /var/lib/contentd/contentd.db)" = 600 ]'
ok "runs cannot be listed" '[ "$(mode /var/lib/contentd/runs) $(mode /var/lib/contentd/runs/v1)" = "710 contentd:contentd-run 710 contentd:contentd-run" ]'
ok "a run directory is shared and sticky" '[ "$(mode $run)" = "1770 contentd:contentd-run" ]'
ok "the daemon's files in it" '[ "$(mode $run/lock) $(mode $run/request.json)" = "640 contentd:contentd-run 640 contentd:contentd-run" ]'
ok "the runner's files in it" '[ "$(mode $run/started) $(mode $run/stdout)" = "640 contentd-run:contentd-run 640 contentd-run:contentd-run" ]'
ok "the working directory" '[ "$(mode /var/lib/contentd/generators/slow)" = "770 contentd:contentd-run" ]'
ok "no other file is for the group or for others" '[ -z "$(find /var/lib/contentd -type f -perm /0077 ! -path "/var/lib/contentd/runs/*" ! -path "/var/lib/contentd/generators/*")" ]'

h "the daemon comes and goes"
ids=()
for n in 1 2 3 4; do ids+=("$(submit "seconds:12 number $n")"); done
ok "four more run" 'until_ "[ \$(units | wc -l) = 5 ]"'
systemctl restart contentd
ok "a restart ends none" '[ "$(units | wc -l)" = 5 ] && until_ "ctl ping >/dev/null"'
kill -9 "$(p MainPID)"
ok "kill -9 ends none" 'until_ "ctl ping >/dev/null" && [ "$(units | wc -l)" = 5 ]'
systemctl stop contentd
ok "a stop ends none" '[ "$(p ActiveState)" = inactive ] && [ "$(units | wc -l)" = 5 ]'
ok "they end while nobody lives" 'until_ "[ \$(units | wc -l) = 1 ]" 40'
systemctl start contentd
for id in "${ids[@]}"; do ok "the piece of $id came" 'until_state $id completed'; done
ok "each was started once" '[ "$(started "seconds:600 first")$(started "seconds:12 number 1")$(started "seconds:12 number 2")$(started "seconds:12 number 3")$(started "seconds:12 number 4")" = 11111 ]'
ok "no retry was spent" '[ "$(ctl list | jq "map(.retry_count) | add")" = 0 ]'
ok "the one that goes on is the same" '[ "$(unit_of $first)" = "$unit" ] && [ "$(state $first)" = processing ]'

h cancel
second=$(submit "seconds:600 second")
ok "a second run" 'until_ "[ -n \"\$(unit_of $second)\" ]"'
contentctl cancel "$second" >/dev/null
ok "cancel ends it" 'until_state $second cancelled && until_ "[ -z \"\$(unit_of $second)\" ]"'
ok "and no other" '[ "$(unit_of $first)" = "$unit" ]'

h "systemctl stop 'contentd-run@*'"
third=$(submit "seconds:600 third" --max-retries 0)
stubborn=$(submit "never ends" --generator stubborn --max-retries 0)
ok "three run" 'until_ "[ \$(units | wc -l) = 3 ]" && until_ "[ -s /var/lib/contentd/generators/stubborn/starts ]"'
mkdir -p /run/systemd/system/contentd-run@.service.d
printf '[Service]\nTimeoutStopSec=2\n' >/run/systemd/system/contentd-run@.service.d/quick.conf
systemctl daemon-reload
contentctl pause --reason "a stop" >/dev/null 2>&1
systemctl stop 'contentd-run@*'
ok "ends all" '[ -z "$(units)" ] && ! pgrep slow-writer && ! pgrep stubborn'
ok "a task without retries fails and says so" 'until_state $third failed && error $third | grep -q "stopped from outside"'
ok "also one that took longer than TimeoutStopSec" 'until_state $stubborn failed && error $stubborn | grep -q "stopped from outside"'
ok "one with retries waits for its next" 'until_state $first pending && [ "$(ctl status $first | field .retry_count)" = 1 ] && error $first | grep -q "stopped from outside"'
rm -r /run/systemd/system/contentd-run@.service.d
systemctl daemon-reload
contentctl cancel "$first" >/dev/null
contentctl resume >/dev/null 2>&1
ok "no unit is left as failed" '[ -z "$(systemctl list-units --all --plain --no-legend "contentd-run@*")" ]'

h "kill -9 of a runner"
lost=$(submit "seconds:600 lost")
ok "it runs" 'until_ "[ -n \"\$(unit_of $lost)\" ]"'
kill -9 "$(p MainPID "$(unit_of "$lost")")"
ok "the task is held, because nobody wrote how it ended" 'until_state $lost held && ! pgrep slow-writer'
contentctl cancel "$lost" >/dev/null

h node
node=$(submit "tea and scripts" --generator node)
ok "a node script runs" 'until_state $node completed'
piece=$(ctl result "$node" | field .content)
echo "$piece"
ok "with its private file" 'grep -q "tea and scripts" <<<"$piece"'
ok "processors and children" 'grep -q "cpus true, child works" <<<"$piece"'
ok "its home and its secret" 'grep -q "home true, secret 13" <<<"$piece"'

h "a spy"
slow=$(submit "seconds:600 to be seen")
ok "somebody to be seen" 'until_ "pgrep -f \"slow-writer seconds:600 to be seen\" >/dev/null"'
# The spy's questions are right: asked from outside the sandbox they are answered.
outside() { setpriv --reuid contentd --regid contentd-run --init-groups "$@" >/dev/null 2>&1; }
ok "outside the socket is reached" 'outside socat -u OPEN:/dev/null UNIX-CONNECT:/run/contentd/contentd.sock'
ok "outside the bus is reached" 'outside socat -u OPEN:/dev/null UNIX-CONNECT:/run/dbus/system_bus_socket'
ok "outside the run socket is reached" 'outside socat -u OPEN:/dev/null UNIX-CONNECT:/run/contentd-run/run.sock,socktype=5'
ok "outside the processes are seen" 'ps -e -o args= | grep -E "slow-writer|usr/bin/contentd$" | grep -qv grep'
spy=$(submit "all" --generator spy)
ok "the spy reports" 'until_state $spy completed'
piece=$(ctl result "$spy" | field .content)
echo "$piece"
ok "it found thirteen doors shut" '[ "$(grep -c "^shut: " <<<"$piece")" = 13 ]'
ok "and none open" '! grep -q "OPEN" <<<"$piece"'
ok "it has no capability and a filter" 'grep -q "bounding 0*, seccomp 2" <<<"$piece"'
ok "what it left behind was reaped" 'grep -q "zombies 0" <<<"$piece"'
ok "what it made so that it cannot be removed is told" 'until_ "journalctl -u contentd -o cat | grep -q \"could not be removed\""'
ok "and the daemon goes on" 'ctl ping >/dev/null && [ "$(state $slow)" = processing ]'
contentctl cancel "$slow" >/dev/null
ok "cancelled" 'until_state $slow cancelled'

h "as many as may be"
mkdir -p /run/systemd/system/contentd-run.socket.d
printf '[Socket]\nMaxConnections=1\n' >/run/systemd/system/contentd-run.socket.d/few.conf
systemctl daemon-reload
systemctl restart contentd-run.socket
one=$(submit "seconds:20 one")
ok "one runs" 'until_ "[ \$(units | wc -l) = 1 ]"'
two=$(submit "seconds:0 two")
ok "the second waits, and says why" 'until_ "error $two | grep -q MaxConnections="'
ok "nothing of it is spent" '[ "$(state $two)" = pending ] && [ "$(ctl status $two | field .retry_count)" = 0 ]'
ok "it comes when there is room" 'until_state $two completed 90'
ok "both were started once" '[ "$(started "seconds:20 one")$(started "seconds:0 two")" = 11 ]'
rm -r /run/systemd/system/contentd-run.socket.d
systemctl daemon-reload

h "no run socket"
systemctl stop contentd-run.socket
three=$(submit "seconds:0 three")
ok "a run waits, with the cure" 'until_ "error $three | grep -q \"systemctl start contentd-run.socket\""'
systemctl reload contentd
ok "the fault is told at a reload" 'contentctl reload 2>&1 | grep -q "run socket" || journalctl -u contentd -o cat | grep -q "the run socket /run/contentd-run/run.sock cannot be used"'
systemctl start contentd-run.socket
ok "and comes with it" 'until_state $three completed 90'
ok "nothing was spent" '[ "$(ctl status $three | field .retry_count)" = 0 ] && [ "$(started "seconds:0 three")" = 1 ]'

h exposure
systemd-analyze security --no-pager --offline=false contentd-run@x.service | tail -n 1
exposure=$(systemd-analyze security --no-pager contentd-run@x.service | sed -n 's/.*Overall exposure level for contentd-run@x.service: \([0-9.]*\).*/\1/p')
ok "exposure $exposure is at most 1.5" 'awk -v e="$exposure" "BEGIN { exit !(e != \"\" && e <= 1.5) }"'
ok "the units are sound" 'systemd-analyze verify --man=no contentd-run@x.service contentd-run.socket >/tmp/verify 2>&1; cat /tmp/verify; ! grep -q contentd /tmp/verify'
finish
