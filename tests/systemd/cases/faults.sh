# What only a service manager, a file system of its own or several users can break: a daemon that stands still, a full and a
# read-only disk, no more processes, and a user who takes every connection.
# rig: -t 300
. /root/lib.sh

sample_configuration >/root/contentd.toml
# A generator that counts: each job is a line in `jobs`, and it answers only when the file `gate` is there.
cat >/usr/local/bin/count-job <<'SH'
#!/bin/sh
case $1 in
  submit)
    echo "$2 $3" >>jobs
    case $3 in *gate*) until [ -e gate ]; do sleep 0.05; done ;; esac
    echo "ref: $2" ;;
  poll) echo '{"status": "completed"}' ;;
  fetch) echo "A piece that was asked for under $2, and it is long enough." ;;
esac
SH
chmod 755 /usr/local/bin/count-job
cat >>/root/contentd.toml <<'TOML'
[generators.counting]
max_in_flight = 20
[generators.counting.submit]
run = ["/usr/local/bin/count-job", "submit", "{key}", "{topic}"]
timeout = "10m"
ref = 're:(?m)^ref: (\S+)$'
[generators.counting.poll]
run = ["/usr/local/bin/count-job", "poll", "{ref}"]
state = "json:/status"
[generators.counting.fetch]
run = ["/usr/local/bin/count-job", "fetch", "{ref}"]
content = "text"
[generators.counting.states]
completed = "completed"
TOML
blocking_configuration >>/root/contentd.toml
write_slow_writer
install_files /root/contentd.toml
printf 'u alice -\nu mallory -\nm alice contentd\nm mallory contentd\n' | systemd-sysusers -
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }
mkdir -p /run/systemd/system/contentd.service.d
printf '[Service]\nWatchdogSec=3\nRestartSec=100ms\nRestartSteps=0\n[Unit]\nStartLimitIntervalSec=0\n' \
  >/run/systemd/system/contentd.service.d/quick.conf
systemctl daemon-reload
systemctl start contentd.socket contentd-run.socket
contentctl account add --name blog >/dev/null
submit() { ctl submit --account blog --generator "$1" --topic "$2" --key "$2" 2>/tmp/refused | field .task_id; }
state() { ctl status "$1" | field .state; }
db() { sqlite3 -readonly /var/lib/contentd/contentd.db "$1"; }
generators=/var/lib/contentd/generators
made() { grep -c " $1\$" $generators/counting/jobs; }
log() { journalctl -u contentd -o cat; }

h "stopped for longer than the watchdog"
run=$(submit slow "seconds:8 through the stop")
ok "a run is under way" 'until_ "[ \$(state $run) = processing ]"'
done=$(submit counting "done before")
ok "and a task is done" 'until_ "[ \$(state $done) = completed ]"'
before=$(p NRestarts)
kill -STOP "$(p MainPID)"
ok "the watchdog ends it and a new one is started" 'until_ "[ \$(p NRestarts) -gt $before ] && is_active" 60'
ok "who calls is answered" 'ctl ping >/dev/null'
ok "the watchdog is named" 'log | grep -q "Watchdog timeout"'
ok "the run went on and its piece is taken" 'until_ "[ \$(state $run) = completed ]" 60'
ok "it was not paid again" '[ "$(grep -c "through the stop" $generators/slow/starts)" = 1 ]'
ok "and what was done is done" '[ "$(state $done)" = completed ] && [ "$(made "done before")" = 1 ]'

h "a full disk"
systemctl stop contentd.service contentd.socket
mkdir /root/kept
cp -a /var/lib/contentd/. /root/kept/
mount -t tmpfs -o size=24m,mode=0710,uid="$(id -u contentd)",gid="$(getent group contentd-run | cut -d: -f3)" small /var/lib/contentd
cp -a /root/kept/. /var/lib/contentd/
systemctl start contentd.socket
gated=$(submit counting "gate through the full disk")
running=$(submit slow "seconds:3 through the full disk")
ok "a call is under way" 'until_ "[ \$(made \"gate through the full disk\") = 1 ]"'
ok "and a run" 'until_ "[ \$(state $running) = processing ]"'
head -c 100m /dev/zero >/var/lib/contentd/filler 2>/dev/null
refusals=0
for n in $(seq 200); do
  # Room that the database had made for itself is used up first.
  if [ -z "$(submit counting "refused $n")" ]; then refusals=1 && break; fi
done
ok "a submit is refused" '[ $refusals = 1 ]'
ok "with the cause" 'grep -q "full" /tmp/refused && cat /tmp/refused'
# The gate is on the full disk too, and an empty file takes no room there.
: >$generators/counting/gate 2>/dev/null || { rm /var/lib/contentd/filler; : >$generators/counting/gate; head -c 100m /dev/zero >/var/lib/contentd/filler 2>/dev/null; }
ok "the outcome of the call is kept in hand" 'until_ "log | grep -q \"the outcome of a submit (accepted as\""'
ok "the daemon lives" 'is_active && ctl ping >/dev/null'
rm /var/lib/contentd/filler
ok "with room again the call completes" 'until_ "[ \$(state $gated) = completed ]" 60'
ok "it was one job" '[ "$(made "gate through the full disk")" = 1 ]'
ok "the run is taken, or a person is asked: never a second one" 'until_ "[ \$(state $running) = completed -o \$(state $running) = held ]" 60 && [ "$(grep -c "seconds:3 through the full disk" $generators/slow/starts)" = 1 ]'
ok "a submit is taken again" 'task=$(submit counting "after the full disk") && until_ "[ \$(state $task) = completed ]"'
ok "all that was taken is done" 'until_ "[ \$(db \"select count(*) from tasks where generator = '"'counting'"' and state <> '"'completed'"'\") = 0 ]" 60'
ok "no job was made twice" '[ -z "$(cut -d" " -f1 $generators/counting/jobs | sort | uniq -d)" ] && [ -z "$(cut -d" " -f2- $generators/counting/jobs | sort | uniq -d)" ]'

h "a read-only disk"
systemctl stop contentd.service contentd.socket
mount -o remount,ro /var/lib/contentd
systemctl start contentd.service 2>/dev/null
ok "a start is refused, with the cure" 'until_ "log | grep -q \"read-only: mount it for writing\""'
systemctl stop contentd.service 2>/dev/null
mount -o remount,rw /var/lib/contentd
systemctl reset-failed contentd.service
systemctl start contentd.socket
ok "writable again, everything is there" '[ "$(state $gated)" = completed ] && [ "$(state $done)" = completed ]'

h "no more processes"
rm -f $generators/counting/gate
waiting=$(submit counting "gate with no processes")
ok "a call is under way" 'until_ "[ \$(made \"gate with no processes\") = 1 ]"'
# Its user has more threads than one already.
prlimit --pid "$(p MainPID)" --nproc=1:
starved=$(submit counting "nothing can be started")
ok "a task that cannot be started is taken and waits" '[ -n "$starved" ] && until_ "[ \$(state $starved) = pending ] && ctl status $starved | grep -q \"could not be started\""'
ok "the cause is told" 'ctl status $starved | grep -Eq "temporarily unavailable|os error 11"'
ok "the daemon lives" 'ctl ping >/dev/null'
prlimit --pid "$(p MainPID)" --nproc=512:
: >$generators/counting/gate
ok "with processes again both complete" 'until_ "[ \$(state $waiting) = completed -a \$(state $starved) = completed ]" 90'
ok "as one job each" '[ "$(made "gate with no processes")" = 1 ] && [ "$(made "nothing can be started")" = 1 ]'
ok "with nothing spent" '[ "$(ctl status $starved | field .retry_count)" = 0 ]'
ok "nothing panicked" '! log | grep -q panicked'

h "one user takes every connection"
cat >/root/flood.py <<'PY'
import resource, socket, sys, time
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held, told = [], 0
for _ in range(10000):
    one = socket.socket(socket.AF_UNIX)
    one.connect("/run/contentd/contentd.sock")
    if len(held) < 64:
        one.sendall(b'{"method":"io.contentd.Daemon.Ping"}\0')
        assert b"pid" in one.recv(1000)
        held.append(one)
    else:
        told += b"TooManyConnections" in one.recv(1000)
        one.close()
print(told, flush=True)
time.sleep(600)
PY
chmod 755 /root /root/flood.py
setpriv --reuid mallory --regid mallory --init-groups python3 /root/flood.py >/root/told &
flood=$!
ok "10,000 connections of one user: all but 64 are told that they are too many" 'until_ "[ \"\$(cat /root/told)\" = 9936 ]" 90'
ok "that user is refused with the cause" 'as mallory contentctl ping 2>&1 | grep -qi "connections"'
ok "another user is served" 'as alice contentctl ping'
ok "and submits" 'task=$(as alice contentctl --output json submit --account blog --generator counting --topic "beside the flood" | field .task_id) && until_ "[ \$(state $task) = completed ]"'
kill $flood
ok "and then everybody is served again" 'until_ "as mallory contentctl ping >/dev/null 2>&1"'
ok "no state is without its history" '[ -z "$(db "select id from tasks where state is not (select to_state from events where task_id = tasks.id order by id desc limit 1)")" ]'
ok "nobody is left without a time to wake" '[ -z "$(db "select id from tasks where state in ('"'submitting', 'submitted', 'processing', 'cancelling'"') and wake_at is null")" ]'
finish
