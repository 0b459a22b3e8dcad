# The installation from a clone, without the package: the blocks of docs/operators.md that name this file, word by word.
# rig: -t 300 -f docs/operators.md:/root/operators.md -f systemd:/root/clone/systemd -f $bin:/root/clone/target/release
# rig: -f packaging/contentd.toml:/root/clone/packaging/contentd.toml -f examples:/root/clone/examples
# rig: -f contentd.example.toml:/root/clone/contentd.example.toml
. /root/lib.sh

# Nothing of ours is there yet.
for program in contentd contentctl contentd-run sample-generator; do
  umount /usr/bin/$program
  rm /usr/bin/$program
done

mkdir /tmp/blocks
awk '
  /^<!-- run by tests\/systemd\/cases\/clone\.sh -->$/ { mine = 1; next }
  /^```sh$/ { file = mine ? sprintf("/tmp/blocks/%02d.sh", ++number) : "/dev/null"; last = file; mine = 0; inside = 1; next }
  /^```text$/ { file = last == "/dev/null" ? last : last ".shown"; inside = 1; next }
  /^```$/ { inside = 0; next }
  inside { print > file }' /root/operators.md
ok "the page has its commands" '[ -s /tmp/blocks/01.sh ] && [ -s /tmp/blocks/02.sh ]'

cd /root/clone || exit 1
follow() { # BLOCK
  bash -eu -o pipefail "/tmp/blocks/$1.sh" >/root/said 2>&1
  local code=$?
  cat /root/said
  ok "block $1 of the page works" "[ $code = 0 ]"
  ok "and says what the page shows" "is_as_shown /root/said /tmp/blocks/$1.sh.shown"
}

h install
follow 01
ok "the daemon runs as its own user" 'is_active && [ "$(ps -o user= -p "$(p MainPID)")" = contentd ]'
for unit in contentd.service contentd.socket contentd-run.socket contentd-backup.timer; do
  ok "$unit is enabled and active" "[ \"\$(systemctl is-enabled $unit)\" = enabled ] && is_active $unit"
done
ok "its words are in the journal's catalog" 'journalctl --list-catalog | grep -q contentd'
ok "its examples are there" '[ -s /usr/share/doc/contentd/examples/contentd.example.toml ] && [ -s /usr/share/doc/contentd/examples/systemd/contentd.service.d/before-253.conf ]'
ok "a shell completes its verbs" 'bash -c ". /usr/share/bash-completion/completions/contentctl && complete -p contentctl" | grep -q contentctl'
ok "its pages are there" '[ -s /usr/local/share/man/man1/contentctl.1 ] && [ -s /usr/local/share/man/man8/contentd.8 ]'

h "first piece"
follow 02
ok "the piece is there" '[ "$(ctl content list | jq length)" = 1 ]'

h "a detached run"
write_slow_writer
blocking_configuration >>/etc/contentd/contentd.toml
systemctl reload contentd
run=$(ctl submit --account blog --generator slow --topic "seconds:20 salt" | field .task_id)
ok "has a unit of its own" 'until_ "systemctl list-units --plain --no-legend --state=active \"contentd-run@*\" | grep -q contentd-run"'

h "a newer version"
pid=$(p MainPID)
configuration=$(sha256sum /etc/contentd/contentd.toml)
follow 01
ok "another daemon runs" 'is_active && [ "$(p MainPID)" != "$pid" ]'
ok "the configuration stays" '[ "$(sha256sum /etc/contentd/contentd.toml)" = "$configuration" ]'
ok "the run went on over the restart" 'contentctl wait "$run" --timeout 60 && [ "$(wc -l </var/lib/contentd/generators/slow/starts)" = 1 ]'
h "pages that would hide those of a package"
bash -eu /tmp/blocks/03.sh
ok "none is left" '[ -z "$(find /usr/local/share/man -type f -name "content*")" ]'
ok "no unit failed" '[ -z "$(systemctl --failed --plain --no-legend | grep contentd)" ]'
finish
