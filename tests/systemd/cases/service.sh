# The daemon as a service: activation by the first call, what `systemctl status` shows, reload, watchdog, stop, exposure.
# rig: -t 300 -b $target/service-test/contentd
. /root/lib.sh

sample_configuration >/root/contentd.toml
install_files /root/contentd.toml
# `alice` may control the daemon, `mallory` may not.
printf 'u alice -\nu mallory -\nm alice contentd\n' | systemd-sysusers -
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }

h activation
systemctl start contentd.socket contentd-run.socket
ok "nothing runs before the first call" '[ "$(p ActiveState)" = inactive ]'
ok "the first call starts the daemon and is answered" 'ctl ping | jq -e .pid >/dev/null'
ok "it is the service's main process" '[ "$(ctl ping | field .pid)" = "$(p MainPID)" ]'
ok "the service is active, so READY was said" 'is_active'
ok "the socket is the service manager's" 'journalctl -u contentd -o cat | grep -q "listening on /run/contentd/contentd.sock, the service manager"'

h "who may call"
ok "a member of group contentd may" 'as alice contentctl ping'
said=$(as mallory contentctl ping 2>&1)
code=$?
ok "others are refused, with the group to join" '[ $code = 3 ] && grep -q "group contentd" <<<"$said"'
contentctl account add --name blog >/dev/null
ok "who submitted is known by the kernel's word" '[ "$(as alice contentctl --output json status $(as alice contentctl --output json submit --account blog --topic "who am I" | field .task_id) | field .submitted_by)" = "$(id -u alice):alice" ]'

h status
ok "the piece of the first call comes" 'contentctl wait --all --timeout 60'
ok "an idle daemon says so" 'until_ "p StatusText | grep -qx \"nothing to do\""'
task=$(ctl submit --account blog --topic "long [sample:seconds=600]" | field .task_id)
ok "live counts" 'until_ "p StatusText | grep -Eq \"^1 (submitted|processing)\""'
ok "and they are in systemctl status" 'systemctl status contentd | grep -Eq "Status: \"1 (submitted|processing)"'
contentctl pause --reason "lunch" >/dev/null 2>&1
ok "a pause is told" 'until_ "p StatusText | grep -q \"1 paused\""'
contentctl resume >/dev/null 2>&1

h reload
pid=$(p MainPID)
ok "systemctl reload" 'systemctl reload contentd'
ok "the same process, active" '[ "$(p MainPID)" = "$pid" ] && is_active'
ok "it said that it had read the configuration" 'journalctl -u contentd -o cat | grep -q "configuration reloaded"'
echo 'nonsense = 1' >>/etc/contentd/contentd.toml
systemctl reload contentd
ok "a refused configuration is told in the status" 'until_ "p StatusText | grep -q \"the new configuration was refused\""'
ok "and the old one serves" 'ctl ping >/dev/null && is_active'
cp /root/contentd.toml /etc/contentd/contentd.toml
systemctl reload contentd
ok "a good one clears it" 'until_ "! p StatusText | grep -q refused"'

h "no generator"
systemctl stop contentd
: >/etc/contentd/contentd.toml
systemctl start contentd
ok "starts without any, and says so" 'until_ "p StatusText | grep -q \"no generator configured yet\""'
echo '[daemon]
workers = 0' >/etc/contentd/contentd.toml
systemctl restart contentd 2>/dev/null
ok "a wrong configuration ends with status 78 and is not tried again" 'until_ "[ \$(p ExecMainStatus) = 78 -a \$(p ActiveState) = failed ]"'
ok "with the reason in the journal" 'journalctl -u contentd -o cat | grep -q "daemon.workers"'
cp /root/contentd.toml /etc/contentd/contentd.toml
systemctl reset-failed contentd
ok "mended, it starts" 'systemctl restart contentd'
# Asked again while the start's own poll of the job is under way, which is an answer too.
ok "and knows the job from before" 'until_ "ctl poll $task | field .state | grep -Eqx \"submitted|processing\""'

h watchdog
mkdir -p /run/systemd/system/contentd.service.d
printf '[Service]\nWatchdogSec=3\nRestartSec=100ms\nRestartSteps=0\n[Unit]\nStartLimitBurst=100\n' >/run/systemd/system/contentd.service.d/quick.conf
systemctl daemon-reload
systemctl restart contentd
for victim in queue poller results worker schedules images publisher notices supervisor control thread; do
  before=$(p NRestarts)
  printf '%s' $victim >/var/lib/contentd/wedge
  ok "a wedged $victim gets the daemon restarted" 'until_ "[ \$(p NRestarts) -gt $before ] && is_active && ctl ping >/dev/null" 60'
done
ok "a silent actor was named" 'journalctl -u contentd -o cat | grep -q "the poller does not answer"'
ok "nobody restarts a daemon that answers" 'before=$(p NRestarts); until_ false 8; [ "$(p NRestarts)" = "$before" ]'
rm -r /run/systemd/system/contentd.service.d
systemctl daemon-reload
systemctl reset-failed contentd
systemctl restart contentd

h "kill -9"
before=$(p MainPID)
kill -9 "$before"
ok "it comes back by itself" 'until_ "[ \$(p MainPID) != $before ] && is_active"'
ok "callers were not refused meanwhile" 'ctl ping >/dev/null'

h stop
systemctl stop contentd
ok "a stop ends well" '[ "$(p Result)" = success ]'
ok "it says what goes on, and where" 'journalctl -u contentd -o cat | grep -q "at sample 1 job goes on; the next start asks about that: $task"'
ok "the socket stays for the next caller" '[ -S /run/contentd/contentd.sock ] && ctl ping >/dev/null'
ok "who started it" 'is_active'

h exposure
systemd-analyze security --no-pager contentd.service | tail -n 1
exposure=$(systemd-analyze security --no-pager contentd.service | sed -n 's/.*Overall exposure level for contentd.service: \([0-9.]*\).*/\1/p')
ok "exposure $exposure is at most 1.5" 'awk -v e="$exposure" "BEGIN { exit !(e != \"\" && e <= 1.5) }"'
ok "the units are sound" 'systemd-analyze verify --man=no contentd.service contentd.socket contentd-run.socket 2>&1 | { ! grep contentd; }'
ok "state is private" '[ "$(stat -c "%a %U %G" /var/lib/contentd)" = "710 contentd contentd-run" ] && [ "$(stat -c %a /var/lib/contentd/contentd.db)" = 600 ]'
finish
