# The Debian package on a real system: install, first piece, upgrade with runs under way, remove, purge, install again.
# rig: -t 400 -f $target/package-test/previous.deb:/root/previous.deb -f $target/package-test/new.deb:/root/new.deb
. /root/lib.sh

# The programs come from the package here, and so do its documents.
for program in contentd contentctl contentd-run sample-generator; do
  umount /usr/bin/$program
  rm /usr/bin/$program
done
rm -f /etc/dpkg/dpkg.cfg.d/*mmdebstrap*
export DEBIAN_FRONTEND=noninteractive
version() { dpkg-query -W -f '${db:Status-Abbrev}${Version}' contentd; }
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; }
runs() { systemctl list-units --plain --no-legend --state=active 'contentd-run@*' | wc -l; }
conffile=/etc/contentd/contentd.toml

h install
ok "dpkg installs it" 'dpkg -i /root/previous.deb </dev/null'
new=$(dpkg-deb -f /root/new.deb Version)
ok "it is the previous version" '[ "$(version)" = "ii 0.0.9" ] && dpkg --compare-versions 0.0.9 lt "$new"'
ok "the daemon runs, and has said that it is ready" 'is_active && [ "$(p SubState)" = running ]'
for unit in contentd.socket contentd-run.socket; do ok "$unit listens" "is_active $unit"; done
for unit in contentd.service contentd.socket contentd-run.socket; do
  ok "$unit is enabled" "[ \"\$(systemctl is-enabled $unit)\" = enabled ]"
done
ok "it runs as its own user" '[ "$(ps -o user= -p "$(p MainPID)")" = contentd ]'
ok "its status says what is missing" 'until_ "p StatusText | grep -q \"no generator configured yet\""'
ok "its configuration is good" '[ "$(contentd --check-config)" = "/etc/contentd/contentd.toml: the configuration is good" ]'
ok "every installed file is as it was packed" '[ -z "$(dpkg -V contentd)" ]'
ok "no unit failed" '[ -z "$(systemctl --failed --plain --no-legend | grep contentd)" ]'

h "who may call"
printf 'u alice -\nu mallory -\nm alice contentd\n' | systemd-sysusers -
ok "root may" 'contentctl status >/dev/null'
ok "a member of group contentd may" 'as alice contentctl status >/dev/null'
said=$(as mallory contentctl status 2>&1)
code=$?
ok "others are refused, with the group to join" '[ $code = 3 ] && grep -q "group contentd" <<<"$said"'

h "first piece"
contentctl account add --name blog >/dev/null
said=$(contentctl submit --account blog --topic early 2>&1)
code=$?
echo "$said"
ok "without a generator a task is refused, and it says why" '[ $code = 1 ] && grep -q generator <<<"$said"'
# As the installed file says.
cat /usr/share/doc/contentd/examples/sample.toml >>$conffile
ok "the sample's configuration is good where it is" '[ "$(contentd --check-config)" = "/etc/contentd/contentd.toml: the configuration is good" ]'
ok "reload" 'systemctl reload contentd'
task=$(ctl submit --account blog --topic "Why bread rises" | field .task_id)
ok "the piece comes" 'contentctl wait $task --timeout 60 && contentctl result $task | grep -qi bread'

h "upgrade with a run under way"
write_slow_writer
blocking_configuration >>$conffile
systemctl reload contentd
slow=$(ctl submit --account blog --generator slow --topic "seconds:25 a long one" | field .task_id)
ok "a detached run is under way" 'until_ "[ \$(runs) = 1 ]"'
# The oldest: while the script starts a command of its own, there are two of it.
run=$(pgrep -o -f '/usr/local/bin/slow-writer seconds:25')
before=$(p MainPID)
socket_before=$(stat -c %i $socket)
(
  while ! [ -e /root/upgraded ]; do
    if contentctl ping >/dev/null 2>>/root/pings.err; then echo good; else echo bad; fi
  done >/root/pings
) &
pinging=$!
ok "pings are going on" 'until_ "[ \"\$(wc -l </root/pings)\" -gt 5 ]"'
ok "dpkg upgrades it, and asks nothing" 'dpkg --force-confdef --force-confold -i /root/new.deb </dev/null'
ok "and pings went on after it" 'n=$(wc -l </root/pings); until_ "[ \$(wc -l </root/pings) -gt $((n + 5)) ]"'
touch /root/upgraded
wait $pinging
ok "it is the new version" '[ "$(version)" = "ii $new" ]'
ok "a new daemon runs" '[ "$(p MainPID)" != "$before" ] && is_active'
ok "of $(wc -l </root/pings) calls during the upgrade none was refused" '! grep -q bad /root/pings || { cat /root/pings.err; false; }'
ok "the socket was never made anew" '[ "$(stat -c %i $socket)" = "$socket_before" ]'
ok "the run lives, the same process" '[ -n "$run" ] && [ -d /proc/$run ] && [ "$(runs)" = 1 ]'
ok "the changed configuration was kept" 'grep -q "generators.sample.submit" $conffile && grep -q "0.0.9" $conffile'
ok "and the new one lies beside it" '[ -e $conffile.dpkg-dist ] && ! grep -q "0.0.9" $conffile.dpkg-dist'
ok "the new daemon takes the run's piece" 'contentctl wait $slow --timeout 60 && contentctl result $slow | grep -q "A piece about"'
ok "which was started once" '[ "$(cat /var/lib/contentd/generators/slow/starts | wc -l)" = 1 ]'
ok "the piece from before is there" 'contentctl result $task | grep -qi bread'

h "what an administrator stopped"
systemctl disable --now contentd.service contentd.socket contentd-run.socket 2>/dev/null
ok "installed again, it stays disabled and stopped" 'dpkg -i /root/new.deb </dev/null && ! is_active && ! is_active contentd.socket && [ "$(systemctl is-enabled contentd)" = disabled ]'
systemctl enable --now contentd.socket contentd-run.socket contentd.service 2>/dev/null
ok "enabled, it runs" 'is_active && contentctl ping >/dev/null'

h remove
ok "an administrator has enabled the nightly backup" 'systemctl enable --now contentd-backup.timer 2>/dev/null && is_active contentd-backup.timer'
again=$(ctl submit --account blog --generator slow --topic "seconds:15 over a removal" | field .task_id)
ok "a detached run is under way" 'until_ "[ \$(runs) = 1 ]"'
said=$(dpkg -r contentd </dev/null 2>&1)
code=$?
echo "$said"
ok "dpkg removes it" '[ $code = 0 ] && [ "$(version)" = "rc $new" ]'
ok "it says that a run goes on, and how to end it" "grep -q \"1 of its detached runs go on\" <<<\"\$said\" && grep -q \"systemctl stop 'contentd-run@\\*'\" <<<\"\$said\""
ok "the daemon is stopped" '! pgrep -x contentd'
ok "and the timer of its backups" '! is_active contentd-backup.timer'
ok "nothing listens" '! [ -e $socket ]'
ok "the run goes on" '[ "$(pgrep -fc "slow-writer seconds:15")" -ge 1 ]'
ok "programs and units are gone" '! [ -e /usr/bin/contentd ] && [ -z "$(ls -d /usr/lib/systemd/system/contentd* 2>/dev/null)" ]'
ok "configuration and state stay" '[ -s $conffile ] && [ -s /var/lib/contentd/contentd.db ]'
ok "the run ends by itself" 'until_ "! pgrep -f slow-writer" 40'
ok "installed again, it runs" 'dpkg -i /root/new.deb </dev/null && is_active'
ok "and takes the piece that was written meanwhile" 'contentctl wait $again --timeout 60 && contentctl result $again | grep -q "over a removal"'
ok "which was not started again" '[ "$(grep -c removal /var/lib/contentd/generators/slow/starts)" = 1 ]'

h purge
ok "the timer is enabled still" '[ "$(systemctl is-enabled contentd-backup.timer)" = enabled ] && systemctl start contentd-backup.timer'
ctl submit --account blog --generator slow --topic "seconds:600 over a purge" >/dev/null
ok "a detached run is under way" 'until_ "[ \$(runs) = 1 ]"'
said=$(dpkg -P contentd </dev/null 2>&1)
code=$?
echo "$said"
ok "dpkg purges it" '[ $code = 0 ] && ! version 2>/dev/null | grep -q "^[ir]"'
ok "it tells what it deletes" 'grep -q "deleting /var/lib/contentd" <<<"$said" && grep -q "deleting /etc/contentd" <<<"$said"'
ok "the run was ended, and it says so" '! pgrep -f slow-writer && grep -q "ending its detached runs" <<<"$said"'
ok "configuration and state are gone" '! [ -e /etc/contentd ] && ! [ -e /var/lib/contentd ] && [ -z "$(ls -d /run/contentd* 2>/dev/null)" ]'
ok "no link to a unit is left" '[ -z "$(find /etc/systemd/system -name "contentd*")" ]'
ok "the users stay" 'getent passwd contentd contentd-run >/dev/null'
ok "no unit is left failed" '[ -z "$(systemctl --failed --plain --no-legend | grep contentd)" ]'

h "install again"
ok "the previous version" 'dpkg -i /root/previous.deb </dev/null && is_active && grep -q 0.0.9 $conffile'
ok "an upgrade replaces a configuration that nobody changed" 'dpkg -i /root/new.deb </dev/null && ! grep -q 0.0.9 $conffile && is_active'
ok "it begins with nothing" '[ "$(ctl list | jq length)" = 0 ]'
finish
