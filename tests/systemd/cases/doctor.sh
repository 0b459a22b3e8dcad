# The doctor as root, as a member of the group and as others; what it says when things are broken; the backup's unit and timer;
# the examples; the worker's unit with a stand-in for the worker.
# rig: -t 300
. /root/lib.sh

sample_configuration >/root/contentd.toml
install_files /root/contentd.toml
printf 'u alice -\nu mallory -\nu bob -\nm alice contentd\n' | systemd-sysusers -
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }
# FINDING is a filter over one finding; says whether there is one like it in the answer of the last examination.
has() { jq -e "map(.cure //= \"\") | any(.[]; $1)" >/dev/null <<<"$findings"; }
examine() { findings=$("$@" contentctl --output json doctor); code=$?; }
show() { jq -r '.[] | select(.severity != "ok") | "     \(.severity) \(.subject): \(.found) -- \(.cure)"' <<<"$findings"; }

h units
units=(contentd.service contentd.socket contentd-run.socket contentd-run@.service contentd-backup.service contentd-backup.timer contentd-creator-worker.service)
ok "systemd has nothing to say against the units" '! systemd-analyze verify --man=no "${units[@]/#//usr/lib/systemd/system/}" 2>&1 | grep -v "node_modules" | grep .'

h "all is well"
systemctl enable --now contentd.socket contentd-run.socket contentd-backup.timer 2>/dev/null
systemctl start contentd
contentctl account add --name blog >/dev/null 2>&1
contentctl wait --timeout 60 "$(ctl submit --account blog --topic "a first piece" | field .task_id)" >/dev/null 2>&1
examine env
show
ok "root: no error" '[ $code = 0 ]'
ok "the service is looked at" 'has ".subject == \"contentd.service\" and .severity == \"ok\""'
ok "the watchdog is seen" 'has ".subject == \"supervision\" and .severity == \"ok\" and (.found | test(\"restarts it\"))"'
ok "the run socket is seen" 'has ".subject == \"run socket\" and .severity == \"ok\""'
ok "the state directory is the daemon'\''s alone" 'has ".subject == \"state directory\" and .severity == \"ok\""'
ok "the versions are one" '! has ".subject == \"versions\" and .severity != \"ok\""'
ok "a table for people" 'contentctl doctor | grep -q "^0 errors"'
examine as alice
ok "a member of the group: no error" '[ $code = 0 ]'
ok "and what is only for operators is told" 'has ".subject == \"roles\" and (.found | test(\"submitter\"))"'
ok "a trial of a generator is an operator'\''s" '! as alice contentctl doctor sample 2>/root/said && grep -q TryGenerator /root/said'
ok "each verb of the sample" 'contentctl doctor sample | tee /dev/stderr | grep -q "^0 errors, 0 warnings"'

h "who may not"
examine as mallory
ok "others are told how to join" '[ $code = 1 ] && has ".subject == \"socket\" and (.cure | test(\"usermod -aG contentd mallory\"))"'
ok "and the unit is looked at all the same" 'has ".subject == \"contentd.service\""'
printf 'm bob contentd\n' | systemd-sysusers -
examine setpriv --reuid bob --regid bob --clear-groups
ok "a session that is older than its group is told to log in again" '[ $code = 1 ] && has ".found | test(\"this session is older\")"'
examine as bob
ok "a new one is well" '[ $code = 0 ]'

h backups
ok "the unit makes one" 'systemctl start contentd-backup.service'
file=$(ls /var/lib/contentd/backups/contentd-*.db)
ok "it is whole" '[ "$(sqlite3 "$file" "PRAGMA integrity_check")" = ok ] && [ "$(sqlite3 "$file" "SELECT count(*) FROM tasks")" = 1 ]'
ok "it is the daemon'\''s alone" '[ "$(stat -c "%U %a" "$file")" = "contentd 600" ]'
ok "the timer waits for the night" '[ "$(p NextElapseUSecRealtime contentd-backup.timer)" != "" ] && is_active contentd-backup.timer'
said=$(contentctl backup /srv/backup.db 2>&1)
code=$?
ok "a place outside of the sandbox is refused with its cure" '[ $code = 1 ] && grep -q "ReadWritePaths" <<<"$said" && [ ! -e /srv/backup.db ]'
for _ in $(seq 1 15); do contentctl backup --keep 14 >/dev/null; done
ok "two weeks are kept" '[ "$(ls /var/lib/contentd/backups | wc -l)" = 14 ]'

h credentials
sed -i 's|^env = { SAMPLE|secrets = { SAMPLE_KEY = "llm-key" }\n&|' /etc/contentd/contentd.toml
systemctl reload contentd
until_ 'examine env; [ $code = 1 ]' 20
ok "a key that is missing is named with its LoadCredential" 'has ".subject == \"generator sample\" and .severity == \"error\" and (.cure | test(\"LoadCredential=llm-key\"))"'
mkdir -p /etc/credstore && (umask 077 && echo secret-of-a-test >/etc/credstore/contentd.llm-key)
systemctl restart contentd
examine env
ok "with the key all is well" '[ $code = 0 ] && has ".subject == \"generator sample\" and (.found | test(\"1 secrets readable\"))"'

h "a stopped run socket"
systemctl stop contentd-run.socket
examine env
ok "it is an error with its cure" '[ $code = 1 ] && has ".subject == \"run socket\" and .severity == \"error\" and (.cure | test(\"contentd-run.socket\"))"'
systemctl start contentd-run.socket

h "the disk is nearly full"
systemctl stop contentd.socket contentd.service
mount -t tmpfs -o size=60M,mode=0710,uid=contentd,gid=contentd-run small /var/lib/contentd
systemctl start contentd.socket contentd.service
examine env
ok "it is an error" '[ $code = 1 ] && has ".subject == \"disk of the database\" and .severity == \"error\" and (.cure | test(\"df -h\"))"'
systemctl stop contentd.socket contentd.service
umount /var/lib/contentd

h "a stopped service"
examine env
ok "nobody started it, and how to" '[ $code = 1 ] && has ".subject == \"contentd.service\" and (.cure | test(\"enable --now\"))"'
systemctl start contentd.socket
findings=$(timeout 60 contentctl --output json doctor)
ok "the doctor'\''s own call starts it" 'is_active'

h "a refused configuration, and OnFailure="
cp /root/systemd/examples/contentd-failure@.service /etc/systemd/system/
mkdir -p /etc/systemd/system/contentd.service.d
cp /root/systemd/examples/contentd.service.d/on-failure.conf /etc/systemd/system/contentd.service.d/
printf '[Service]\nEnvironment=CONTENTD_ALARM="cat >/run/alarm"\n' | systemctl edit --stdin --drop-in=alarm contentd-failure@.service 2>/dev/null
systemctl daemon-reload
systemctl stop contentd.socket contentd.service
cp /etc/contentd/contentd.toml /root/good.toml
echo 'nonsense = 1' >>/etc/contentd/contentd.toml
systemctl start contentd.service 2>/dev/null
ok "the alarm is raised" 'until_ "[ -s /run/alarm ]" 60'
ok "it names the unit and the journal'\''s last words" 'grep -q "contentd.service failed" /run/alarm && grep -q nonsense /run/alarm'
ok "a daemon that does not run is not started by the alarm" 'grep -q "was not asked" /run/alarm'
ok "the report is kept" 'ls /var/lib/contentd-failures/contentd.service-*.txt >/dev/null'
systemctl stop contentd.socket contentd.service 2>/dev/null
systemctl start contentd.service 2>/dev/null
# Through the socket the doctor's own call starts the service once more; systemd is asked before that.
examine env
ok "the doctor points at the configuration" '[ $code = 1 ] && has ".subject == \"configuration\" and .severity == \"error\" and (.found | test(\"nonsense\"))"'
ok "and knows that this is why it failed" 'has ".subject == \"contentd.service\" and (.cure | test(\"check-config\"))"'
cp /root/good.toml /etc/contentd/contentd.toml
systemctl reset-failed contentd.service contentd.socket 2>/dev/null
systemctl start contentd.socket contentd.service

h "one call while the configuration is refused"
rm /etc/systemd/system/contentd.service.d/on-failure.conf && systemctl daemon-reload
systemctl stop contentd.service
echo 'nonsense = 1' >>/etc/contentd/contentd.toml
said=$(timeout 60 contentctl status 2>&1)
ok "the caller is told where to look" 'grep -q "systemctl status contentd" <<<"$said"'
ok "the socket fails with the service" 'until_ "systemctl is-failed -q contentd.socket" 60'
ok "the status has the cause" 'p StatusText | grep -q "cannot run.*nonsense"'
examine env
show
ok "the cures of service and socket begin with the count" 'has ".subject == \"contentd.service\" and (.cure | test(\"reset-failed contentd.service contentd.socket\"))" && has ".subject == \"contentd.socket\" and .severity == \"error\" and (.cure | test(\"reset-failed\"))"'
ok "a daemon of one'\''s own is not missed" '! has ".found | test(\"/tmp/contentd-\")"'
cp /root/good.toml /etc/contentd/contentd.toml
systemctl reset-failed contentd.service contentd.socket
ok "that is what helps" 'systemctl start contentd.socket contentd.service && is_active'

h "a configuration that only root can read"
chmod 600 /etc/contentd/contentd.toml && chown root: /etc/contentd/contentd.toml
contentctl reload >/dev/null 2>&1
examine env
ok "the refused reload is an error, with whom to let in" '[ $code = 1 ] && has ".subject == \"configuration\" and .severity == \"error\" and (.found | test(\"user .contentd. must be able to read it\"))"'
chmod 644 /etc/contentd/contentd.toml
contentctl reload >/dev/null 2>&1
examine env
ok "until one is taken" '[ $code = 0 ]'
ok "a check by root leaves the keys to the service" 'contentd --check-config 2>&1 | grep -q "only the service has it"'

h "the socket's file is gone"
rm /run/contentd/contentd.sock
examine env
ok "its unit must make it again" '[ $code = 1 ] && has ".subject == \"socket\" and .cure == \"\`sudo systemctl restart contentd.socket\`\""'
systemctl restart contentd.socket && systemctl start contentd.service
examine env
ok "and that is what helps" '[ $code = 0 ]'

h "a start that fails again and again"
systemctl stop contentd.service
chown root: /var/lib/contentd/contentd.db && chmod 600 /var/lib/contentd/contentd.db
systemctl start --no-block contentd.service
ok "systemd tries again" 'until_ "[ \$(p SubState) = auto-restart ]" 60'
examine env
show
ok "it does not come up, and where to read why" 'has ".subject == \"contentd.service\" and .severity == \"error\" and (.found | test(\"does not come up\")) and (.cure | test(\"journalctl\"))"'
ok "the status has the cause" 'p StatusText | grep -q "cannot run.*contentd.db"'
systemctl stop contentd.service
chown contentd:contentd-run /var/lib/contentd/contentd.db
systemctl reset-failed contentd.service contentd.socket 2>/dev/null
systemctl start contentd.socket contentd.service
ok "mended, it comes up" 'until_ is_active 60'

h "a generator's drop-in"
mkdir -p /srv/mine /etc/contentd/keys && chown contentd /srv/mine && (umask 077 && echo key >/etc/contentd/keys/mine-key)
cp /root/systemd/examples/contentd.service.d/generator.conf /etc/systemd/system/contentd.service.d/mine.conf
cat >>/etc/contentd/contentd.toml <<'TOML'
[generators.mine]
cwd = "/srv/mine"
secrets = { MY_API_KEY = "mine-key" }
[generators.mine.submit]
run = ["/bin/sh", "-c", "true", "{topic}"]
content = "text"
TOML
systemctl daemon-reload && systemctl restart contentd
examine env
ok "key, path and programs are there" 'has ".subject == \"generator mine\" and .severity == \"ok\" and (.found | test(\"/srv/mine\"))" && ! has ".subject == \"generator mine\" and .severity != \"ok\""'
ok "a blocking generator is looked at and not run" 'contentctl doctor mine --all | grep -q "would run, and was not run"'

h "the worker of the reference generator"
dir=/var/lib/contentd/generators/content-creator
install -d -m 0750 -o contentd -g contentd-run $dir $dir/data
mkdir -p /usr/local/lib/node_modules/llm-content-creator/dist/presentation
cat >/usr/local/lib/node_modules/llm-content-creator/dist/presentation/worker-cli.js <<'JS'
// Stands in for the worker: says what it was given and what it sees, and works until it is stopped.
const fs = require("fs");
const seen = { args: process.argv.slice(2), key: process.env.LLM_API_KEY, tavily: process.env.TAVILY_API_KEY ?? null,
  redis: process.env.REDIS_URL, cwd: process.cwd(), state: fs.readdirSync("/var/lib/contentd"), uid: process.getuid() };
fs.writeFileSync("data/seen.json", JSON.stringify(seen));
setInterval(() => {}, 1000);
JS
ok "it starts" 'systemctl start contentd-creator-worker && until_ "[ -s $dir/data/seen.json ]" 20'
seen=$(cat $dir/data/seen.json)
echo "     $seen"
ok "with its name and its number of jobs" 'jq -e ".args[0] == \"start\" and .args[1] == \"-w\" and .args[3:] == [\"-c\", \"5\"]" <<<"$seen" >/dev/null'
ok "with the key, and without those that are not there" 'jq -e ".key == \"secret-of-a-test\" and .tavily == null" <<<"$seen" >/dev/null'
ok "the key is not in the unit'\''s properties" '! systemctl show contentd-creator-worker | grep -q secret-of-a-test'
ok "of the daemon'\''s state it sees its own directory alone" 'jq -e ".state == [\"generators\"]" <<<"$seen" >/dev/null && [ "$(nsenter -t "$(p MainPID contentd-creator-worker)" -m ls /var/lib/contentd/generators)" = content-creator ]'
ok "as the daemon'\''s user" '[ "$(stat -c %U $dir/data/seen.json)" = contentd ]'
kill -KILL "$(p MainPID contentd-creator-worker)"
ok "it is started again when it dies" 'until_ "[ \"\$(p NRestarts contentd-creator-worker)\" = 1 ] && is_active contentd-creator-worker" 30'
ok "it stops in order" 'systemctl stop contentd-creator-worker && [ "$(p ActiveState contentd-creator-worker)" != active ]'

h exposure
for unit in contentd-backup.service contentd-creator-worker.service; do
  echo "     $unit $(systemd-analyze security --no-pager "$unit" | tail -n 1)"
done

finish
