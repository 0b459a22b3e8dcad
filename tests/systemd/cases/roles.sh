# Roles with real users and groups, by the kernel's word; and secrets that a generator says everywhere.
# rig: -t 300
. /root/lib.sh

printf '%s\n' 'u alice -' 'u rita -' 'u otto -' 'u olga -' 'u nora -' 'u mallory -' 'g ops -' 'g editors -' \
  'm alice contentd' 'm rita contentd' 'm rita editors' 'm otto contentd' 'm otto ops' 'm olga contentd' 'm nora contentd' >/usr/lib/sysusers.d/people.conf
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }
roles() { "$@" contentctl --output json ping | jq -r '.roles | join(" ")'; }
may() { "$@" >/root/said 2>&1; }                                     # COMMAND…: it is done
may_not() { "$@" >/root/said 2>&1; [ $? = 1 ] && grep -q "may not call" /root/said; } # COMMAND…: it is refused for lack of a role

without_roles() {
  cat <<'TOML'
[tasks]
generator = "leak"
auto_approve = false
max_retries = 0
[generators.leak]
secrets = { LEAK_KEY = "llm-key" }
[generators.leak.submit]
run = ["/usr/local/bin/leak", "{topic}"]
content = "text"
[generators.short]
secrets = { LEAK_KEY = "llm-key" }
[generators.short.submit]
run = ["/usr/local/bin/leak", "{topic}"]
ref = 're:(?m)^(.*)$'
[generators.short.poll]
run = ["/usr/local/bin/leak", "{ref}"]
state = 're:(?m)^(.*)$'
[generators.short.fetch]
run = ["/usr/local/bin/leak", "{ref}"]
content = "text"
[generators.short.states]
done = "completed"
TOML
}
with_roles() { without_roles; printf '[roles]\nsubmitter = ["alice"]\nreviewer = ["@editors", "alice"]\noperator = ["@ops"]\nobserver = ["olga"]\n'; }
cat >/usr/local/bin/leak <<'SH'
#!/bin/sh
echo "a piece that tells $LEAK_KEY"
echo "an error that tells $LEAK_KEY" >&2
sleep 2
SH
chmod 755 /usr/local/bin/leak
canary=canary-in-the-mine-91c7
mkdir -p /etc/credstore && printf %s $canary | tee /root/canary >/etc/credstore/contentd.llm-key && chmod 600 /etc/credstore/contentd.llm-key
without_roles >/root/contentd.toml
install_files /root/contentd.toml
systemctl start contentd.socket contentd-run.socket

h "the default is closed"
ok "root is an operator" '[ "$(roles env)" = operator ]'
ok "so is the daemon's own user" '[ "$(roles setpriv --reuid contentd --regid contentd --init-groups)" = operator ]'
ok "a member of group contentd may ask what they are" '[ "$(roles as alice)" = "" ]'
ok "and nothing else" 'may_not as alice contentctl list && may_not as alice contentctl submit --account blog --topic T'
ok "the refusal names who, what, the role and the cure" 'grep -q "$(id -u alice):alice may not call io.contentd.Tasks.Submit: it takes submitter or operator.*roles.submitter" /root/said'
contentctl account add --name blog >/dev/null

h "roles of users and groups"
with_roles >/etc/contentd/contentd.toml
ok "systemctl reload takes them" 'systemctl reload contentd && until_ "[ \"\$(roles as alice)\" = \"submitter reviewer\" ]"'
ok "by a group" '[ "$(roles as rita)" = reviewer ] && [ "$(roles as otto)" = operator ]'
ok "by a user" '[ "$(roles as olga)" = observer ]'
ok "a member of the socket's group without a role has none" '[ "$(roles as nora)" = "" ]'
ok "others do not reach it" 'as mallory contentctl ping 2>&1 | grep -q "join group contentd"'
gid=$(getent group contentd | cut -d: -f3)
ok "a group counts as the main one too" '[ "$(roles setpriv --reuid nora --regid ops --groups "$gid")" = operator ]'
ok "only groups that the process has" '[ "$(roles setpriv --reuid otto --regid contentd --clear-groups)" = "" ]'
ok "a group by itself, whoever it is" '[ "$(roles setpriv --reuid mallory --regid contentd --groups "$(getent group editors | cut -d: -f3)")" = reviewer ]'
ok "root of a user namespace is who they are outside" '[ "$(contentctl --output json ping | field .caller)" = 0:root ] &&
  [ "$(as olga unshare --user --map-root-user contentctl --output json ping | field .caller)" = "$(id -u olga):olga" ]'
# With a role as a user and another one as a member of a group: only that contentd cannot name them makes them nobody.
printf 'u bigone 70000\nm bigone contentd\n' | systemd-sysusers - >/dev/null 2>&1
big() { setpriv --reuid 70000 --regid contentd --groups "$(getent group editors | cut -d: -f3)" contentctl --output json ping >/root/big && cat /root/big; }
with_roles | sed 's/^observer = .*/observer = ["olga", "70000"]/' >/etc/contentd/contentd.toml
systemctl reload contentd
big
if [ "$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')" -ge 257 ]; then
  ok "whom the service's namespace does not name is nobody, whatever role they were given" '[ "$(jq -r ".caller | split(\":\")[0]" /root/big)" = 65534 ] && [ "$(jq -c .roles /root/big)" = "[]" ]'
else
  ok "without the namespace they are who they are" '[ "$(jq -r ".caller | split(\":\")[0]" /root/big)" = 70000 ] && [ "$(jq -c ".roles | sort" /root/big)" = "[\"observer\",\"reviewer\"]" ]'
fi
# Of olga's subordinate numbers, with a group of hers that has a role: nobody too.
echo olga:60100:100 >>/etc/subuid
systemctl reload contentd
lent() { setpriv --reuid 60104 --regid contentd --groups "$(getent group editors | cut -d: -f3)" contentctl --output json ping | jq -c .roles; }
ok "a number that somebody was lent is nobody" 'until_ "[ \"\$(lent)\" = \"[]\" ]"'
sed -i /^olga:/d /etc/subuid
with_roles >/etc/contentd/contentd.toml
ok "and somebody again when it is lent no more" 'systemctl reload contentd && [ "$(lent)" = "[\"reviewer\"]" ]'

h "what each may"
task=$(as alice contentctl --output json submit --account blog --topic T | field .task_id)
ok "a submitter submits" '[[ $task == task-* ]]'
ok "and waits" 'may as alice contentctl wait "$task" --timeout 60'
content=$(as alice contentctl --output json result "$task" | field .content_id)
ok "an observer sees the task" 'may as olga contentctl status "$task"'
ok "and not its piece" 'may_not as olga contentctl result "$task" && may_not as olga contentctl content show "$content"'
ok "a reviewer reads it" 'may as rita contentctl content show "$content"'
ok "and does not submit" 'may_not as rita contentctl submit --account blog --topic T'
ok "a submitter adds no account, makes no backup, tries no generator, pauses nothing" \
  'may_not as alice contentctl account add --name other && may_not as alice contentctl backup && may_not as alice contentctl doctor leak && may_not as alice contentctl pause'
ok "an operator does all of it" 'may as otto contentctl account add --name other && may as otto contentctl backup && may as otto contentctl config'
ok "the backup's own unit is one" 'systemctl start contentd-backup.service'
ok "a reviewer approves, also their own where nothing is said" 'may as alice contentctl content approve "$content"'

h "four eyes"
{ with_roles | sed /^auto_approve/d; printf '[review]\nfour_eyes = true\n'; } >/etc/contentd/contentd.toml
systemctl reload contentd
own=$(as alice contentctl --output json submit --account blog --topic Own | field .task_id)
as alice contentctl wait "$own" --timeout 60 >/dev/null 2>&1
content=$(as alice contentctl --output json result "$own" | field .content_id)
ok "it waits for a review" '[ "$(ctl content show "$content" | field .review_status)" = pending_review ]'
as alice contentctl content approve "$content" >/root/said 2>&1
code=$?
ok "its submitter cannot approve it, and is told" '[ $code = 1 ] && grep -q "was submitted by $(id -u alice):alice, who cannot approve it" /root/said'
ok "another reviewer can" 'may as rita contentctl content approve "$content"'
ok "a submit that would approve itself is refused" '! as alice contentctl call io.contentd.Tasks.Submit "{\"task\": {\"account\": \"blog\", \"topic\": \"T\", \"auto_approve\": true}}" >/root/said 2>&1 && grep -q four_eyes /root/said'

h "a name that is not known"
{ with_roles; printf 'publisher = ["nobody-of-that-name"]\n'; } >/etc/contentd/contentd.toml
ok "the check names it" '! contentd --check-config 2>/root/said && grep -q "roles.publisher names the user \"nobody-of-that-name\"" /root/said'
systemctl reload contentd
ok "a reload keeps the old roles" '[ "$(roles as rita)" = reviewer ] && p StatusText | grep -q refused'
with_roles | sed 's/, "alice"\]/]/' >/etc/contentd/contentd.toml
ok "a role that is taken away is gone with the reload" 'systemctl reload contentd && [ "$(roles as alice)" = submitter ]'

h "who is nobody's caller"
ok "the runs' user does not reach the socket, nor the state" '! setpriv --reuid contentd-run --regid contentd-run --init-groups contentctl ping 2>/dev/null && ! setpriv --reuid contentd-run --regid contentd-run --init-groups cat /var/lib/contentd/contentd.db 2>/dev/null'
ok "nothing of it listens on the network" '! grep -qs . <(for pid in $(systemctl show -P MainPID contentd); do ls -l /proc/$pid/fd | sed -n "s/.*socket:\[\([0-9]*\)\].*/\1/p" | while read -r inode; do grep -hw "$inode" /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6; done; done)'

h "a secret that is said everywhere"
leak=$(ctl submit --account blog --topic "Song" | field .task_id)
ok "the run goes on" 'until_ "pgrep -f /usr/local/bin/leak >/dev/null"'
# By a file, because an argument of grep would be a title with it.
titles() { for file in /proc/[0-9]*/cmdline; do tr '\0' ' ' <$file 2>/dev/null; done; }
ok "it stands in no title of a process" '! titles | grep -qFf /root/canary'
holders() { grep -laF $canary /proc/[0-9]*/environ 2>/dev/null | while read -r file; do stat -c %U "${file%/environ}"; done | sort -u | tr '\n' ' '; }
ok "and in no environment but the run's" '[ "$(holders)" = "contentd-run " ] || [ "$(holders)" = "" ]'
ok "no core file of it: daemon and run" 'for pid in $(p MainPID) $(pgrep -f /usr/local/bin/leak); do grep -Eq "^Max core file size +0 +0" /proc/$pid/limits || exit 1; done'
ok "the daemon cannot be traced by its own user" '! setpriv --reuid contentd --regid contentd --clear-groups cat /proc/$(p MainPID)/environ >/dev/null 2>&1'
contentctl wait "$leak" --timeout 60 >/dev/null 2>&1
short=$(ctl submit --account blog --generator short --topic "Short song" | field .task_id)
ok "a short call sings too" 'until_ "ctl log $short | grep -q \"an error that tells\""'
contentctl doctor short >/root/doctor.out 2>&1
contentctl backup >/dev/null
ok "the piece was taken in, with a blank" 'ctl result "$leak" | field .content | grep -q "tells \[secret\]"'
for verb in show history log status; do contentctl --output json $verb "$leak"; contentctl --output json $verb "$short"; done >/root/answers 2>&1
ok "no answer has it" '[ -s /root/answers ] && ! grep -aq $canary /root/answers /root/doctor.out'
ok "nor the journal" 'journalctl --flush; ! journalctl -o export | grep -aq $canary'
until_ '! ls /var/lib/contentd/runs/v1/* >/dev/null 2>&1' 20
ok "nor the state: database, logs, runs, backups" '! grep -raq $canary /var/lib/contentd'
finish
