# docs/operators.md, followed word by word: every block of commands that is not marked otherwise runs in order, as root, from the
# installation of the package to an approved piece of the real generator, and on to a restore.
# rig: -t 900 -f docs/operators.md:/root/operators.md -f $target/operators-test:/root/package -b $target/debug/examples/llm-stub
# rig: -b tests/real/node_modules:/usr/local/lib/node_modules
. /root/lib.sh

# What the page takes for granted, or says was done before: no programs of ours, documents with packages, the real generator's
# command in its place, Redis not masked as the image of these tests has it, a person called alice.
for program in contentd contentctl contentd-run sample-generator; do
  umount /usr/bin/$program
  rm /usr/bin/$program
done
rm -f /etc/dpkg/dpkg.cfg.d/*mmdebstrap*
rm -f /etc/systemd/system/redis-server.service
ln -s ../lib/node_modules/.bin/content-creator /usr/local/bin/content-creator
printf 'u alice -\n' | systemd-sysusers -
systemctl daemon-reload
# The paid model's place is taken by a stand-in on loopback, the only substitution in the page's text. The two lines of the
# drop-in are what keeps the generator's searches and images on this machine.
llm-stub /root/stub-address &
until_ '[ -s /root/stub-address ]'
stub=$(cat /root/stub-address)
sed "s|https://llm.example.com|$stub|" /root/operators.md >/root/page.md
mkdir -p /etc/systemd/system/contentd-creator-worker.service.d
printf '[Service]\nEnvironment=ARK_API_URL=%s HTTPS_PROXY=%s NO_PROXY=127.0.0.1\n' "$stub" "$stub" \
  >/etc/systemd/system/contentd-creator-worker.service.d/stub.conf

# Each block into a file of its own, with what the page shows of its output beside it.
mkdir /tmp/blocks
awk '
  /^<!-- not run: / { skipped = 1; next }
  # Another installation, on a machine of its own.
  /^<!-- run by / { elsewhere = 1; next }
  /^<!-- as alice -->$/ { alice = 1; next }
  /^```sh$/ {
    if (skipped) { file = "/dev/null"; left_out++ } else if (elsewhere) file = "/dev/null"; else { number++; file = sprintf("/tmp/blocks/%02d.sh", number) }
    if (alice) print "alice" > (file ".user")
    last = file; skipped = 0; elsewhere = 0; alice = 0; inside = 1; next }
  /^```text$/ { if (last == "/dev/null") file = last; else { file = last ".shown"; shown++ } inside = 1; next }
  /^```$/ { inside = 0; next }
  inside { print > file }
  END { print number + 0, left_out + 0, shown + 0 > "/tmp/blocks.count" }' /root/page.md
read -r blocks left_out shown </tmp/blocks.count
echo "$blocks blocks to run, $left_out left out by the page, the output of $shown is shown"
ok "the page has its commands" '[ "$blocks" -ge 16 ] && [ "$left_out" -le 2 ] && [ "$shown" -ge 7 ]'

cd /root/package || exit 1
for block in /tmp/blocks/*.sh; do
  number=$(basename "$block" .sh)
  h "$number: $(head -n 1 "$block")"
  as=()
  if [ -e "$block.user" ]; then
    user=$(cat "$block.user")
    as=(env -C / setpriv --reuid "$user" --regid "$user" --init-groups)
  fi
  case $(cat "$block") in
    "contentctl backup
"*)
      contentctl pause >/dev/null
      waits=$(ctl submit --account blog --generator sample --topic "Waits in the backup" | field .task_id)
      later=$(ctl submit --account blog --generator sample --topic "For later" --delay 12h | field .task_id)
      ;;
  esac
  "${as[@]}" bash -eu -o pipefail "$block" >/root/said 2>&1
  code=$?
  cat /root/said
  ok "block $number of the page works${user:+ as $user}" "[ $code = 0 ]"
  unset user
  if [ -e "$block.shown" ]; then ok "block $number says what the page shows" 'is_as_shown /root/said "$block.shown"'; fi
  case $(cat "$block") in
    *"contentctl content approve 3"*)
      ok "the article of the real generator is approved" '[ "$(ctl content show 3 | field .review_status)" = approved ]'
      ok "and stands in the pool" '[ "$(ctl pool list | jq "[.[] | select(.content_id == 3)] | length")" = 1 ]'
      ok "it was written by the real generator" 'ctl content show 3 | field .content | grep -q 导语'
      ok "with its pictures" '[ "$(ctl content show 3 | jq ".images | length")" -ge 1 ]'
      ;;
    *"contentctl backup
"*)
      # What the backup never knows: one of the two tasks that waited was handed over since.
      contentctl resume >/dev/null
      ok "a task of the backup has its piece" 'contentctl wait "$waits" --timeout 5m >/dev/null && [ "$(ctl status "$waits" | field .state)" = completed ]'
      ;;
    *"contentd restore"*)
      ok "the restored daemon holds what waited in the backup" '[ "$(ctl list --state held | jq length)" -ge 2 ]'
      ok "and says why" 'ctl status "$waits" | field .reason | grep -q "restored from a backup"'
      ok "and what may be out waits in the pool" '[ "$(ctl pool list | jq "[.[] | select(.held_reason == null)] | length")" = 0 ] && [ "$(ctl pool list | jq length)" -ge 3 ]'
      contentctl resume >/dev/null
      ;;
    *"comm -13"*)
      ok "what was handed over since is to be looked at" 'sed -n "/^look at/,/^without/p" /root/said | grep -qx "$waits" && ! sed -n "/^without/,\$p" /root/said | grep -qx "$waits"'
      ok "and what was not is not" 'sed -n "/^without/,\$p" /root/said | grep -qx "$later"'
      ok "it is let go by name" 'contentctl release "$later" >/dev/null && [ "$(ctl status "$later" | field .state)" != held ] && [ "$(ctl status "$waits" | field .state)" = held ]'
      ;;
  esac
done
ok "the daemon runs at the end" 'is_active && ctl ping >/dev/null'
ok "no key stands in the journal or in the state" '! journalctl -o export | grep -aq "your key of the" && ! grep -rq "your key of the" /var/lib/contentd'
finish
