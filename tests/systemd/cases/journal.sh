# The journal: a task's whole story by its fields, the catalog, the generators' standard error, RUST_LOG.
# rig: -t 240
. /root/lib.sh

# A generator that answers as its topic says, and talks on standard error while it does.
cat >/usr/local/bin/talker <<'SH'
#!/bin/sh
case $1 in
  create)
    printf 'took %s with key %s\n\033[31mred\033[0m\n' "$2" "$TALKER_KEY" >&2
    case $2 in
      no*) echo 'down for today' >&2; exit 75 ;;
    esac
    echo "$2" >"$3.job"
    echo "ref: $3" ;;
  status) echo 'one more look' >&2; echo '{"status": "'"$(cat "$2.state" 2>/dev/null || echo done)"'"}' ;;
  result) echo 'handing it over' >&2; echo '{"content": "Once upon a time in a piece."}' ;;
esac
SH
chmod 755 /usr/local/bin/talker
sample_configuration '
[generators.talker]
idempotent = true
secrets = { TALKER_KEY = "talker-key" }
[generators.talker.submit]
run = ["/usr/local/bin/talker", "create", "{topic}", "{key}"]
ref = "re:(?m)^ref: (.*)$"
rules = [{ exit = 75, then = "unavailable" }]
[generators.talker.poll]
run = ["/usr/local/bin/talker", "status", "{ref}"]
state = "json:/status"
[generators.talker.fetch]
run = ["/usr/local/bin/talker", "result", "{ref}"]
content = "json:/content"
[generators.talker.states]
done = "completed"' >/root/contentd.toml
blocking_configuration >>/root/contentd.toml
write_slow_writer
install_files /root/contentd.toml
mkdir -p /etc/credstore /run/systemd/system/contentd.service.d
printf 'sk-0123456789abcdef' >/etc/credstore/contentd.talker-key
chmod 600 /etc/credstore/contentd.talker-key
drop_in() { # NAME LINES
  printf '[Service]\n%s\n' "$2" >"/run/systemd/system/contentd.service.d/$1.conf"
  systemctl daemon-reload
}
drop_in key 'LoadCredential=talker-key:contentd.talker-key'
systemctl start contentd.socket
contentctl account add --name blog >/dev/null

records() { journalctl -u contentd -o json --no-pager "$@"; }
# Whether all records of the input fulfil a jq condition, and there is one at least.
all() { jq -se "length > 0 and all(.[]; $1)" >/dev/null; }
some() { jq -se "any(.[]; $1)" >/dev/null; }
id_of() { # SUBJECT: the id that the catalog has for it
  awk -v subject="Subject: $1" '/^-- /{id=$2} $0 == subject {print id}' /root/systemd/contentd.catalog
}
submit() { ctl submit --account blog "$@" | field .task_id; }

h "the story of a task"
task=$(submit --topic "Tea [sample:fail-once]")
ok "it completes" 'contentctl wait "$task" --timeout 60 2>/dev/null >/dev/null'
ok "the journal has its story" 'until_ "records TASK_ID=$task | some \".TASK_STATE == \\\"completed\\\"\""'
records TASK_ID="$task" >/root/story
ok "native records of contentd" 'all "._TRANSPORT == \"journal\" and .SYSLOG_IDENTIFIER == \"contentd\"" </root/story'
ok "each with attempt, account, generator, state" 'all ".ATTEMPT != null and .ACCOUNT == \"1\" and .GENERATOR == \"sample\" and .TASK_STATE != null" </root/story'
ok "each with the id of its kind" 'all "(.MESSAGE_ID | test(\"^[0-9a-f]{32}$\"))" </root/story'
ok "each with the place in the sources" 'all "(.CODE_FILE | endswith(\".rs\")) and (.CODE_LINE | tonumber > 0)" </root/story'
ok "the states in their order" '[ "$(jq -r .TASK_STATE </root/story | uniq | tr "\n" " " | sed "s/processing //g")" = "submitting submitted pending submitting submitted completed " ]'
ok "the attempts in their order" '[ "$(jq -r .ATTEMPT </root/story | uniq | tr "\n" " ")" = "1 2 " ]'
ok "a failed job is a warning, the rest information" '[ "$(jq -r .PRIORITY </root/story | sort -u | tr "\n" " ")" = "4 6 " ] && some ".PRIORITY == \"4\" and .TASK_STATE == \"pending\"" </root/story'
ok "readable as it is on standard error" 'journalctl -u contentd -o cat TASK_ID=$task | grep -q "^task_id=$task attempt=2 .* → completed (completed) by contentd$"'
contentctl pause --account blog >/dev/null 2>&1
contentctl resume --account blog >/dev/null 2>&1
ok "what persons order, by its kind" 'records MESSAGE_ID=$(id_of "New jobs were paused") | all ".MESSAGE | test(\"^paused by 0:root\")"'
ok "one kind of all tasks" 'records MESSAGE_ID=$(id_of "Task @TASK_ID@ is completed") | some ".TASK_ID == \"$task\""'

h "the catalog"
ok "systemd takes all of it" '[ "$(journalctl --list-catalog --no-pager | grep -c " contentd: ")" = "$(grep -c "^-- " /root/systemd/contentd.catalog)" ]'
journalctl -u contentd -x --no-pager TASK_ID="$task" >/root/explained
ok "subject with the task's id" 'grep -q "Subject: Task $task will be tried again" /root/explained'
ok "meaning with the generator" 'grep -q "Attempt 1 at generator sample ended badly" /root/explained'
ok "and what can be done" 'grep -q "contentctl log $task" /root/explained'
ok "no field is left unfilled" '! grep -E "@[A-Z_]+@" /root/explained'

h "what generators write"
wrote=$(id_of "Generator @GENERATOR@ wrote to standard error")
task=$(submit --topic "a tale" --generator talker)
contentctl wait "$task" --timeout 60 >/dev/null 2>&1
ok "what went well is not in the journal at info" '! records TASK_ID=$task | some ".MESSAGE_ID == \"$wrote\""'
ok "but in its log" '[ "$(ctl log $task | jq -r ".[].verb" | tr "\n" " ")" = "submit poll fetch " ]'
ok "secrets taken out" 'ctl log $task | jq -r ".[0].text" | grep -q "with key \[secret\]"'
failing=$(submit --topic "no tale" --generator talker)
ok "what failed is" 'until_ "records TASK_ID=$failing MESSAGE_ID=$wrote | some true"'
records TASK_ID="$failing" MESSAGE_ID="$wrote" | head -1 >/root/wrote
ok "with all its fields" 'all ".GENERATOR == \"talker\" and .VERB == \"submit\" and .ATTEMPT == \"1\" and .ACCOUNT == \"1\" and .PRIORITY == \"6\"" </root/wrote'
ok "the text as the message, its lines kept" 'jq -r .MESSAGE /root/wrote | grep -qx "down for today"'
ok "readable in spite of control characters" 'jq -r .MESSAGE /root/wrote | grep -q "u{1b}.31mred" && ! journalctl -u contentd TASK_ID=$failing | grep -q "blob data"'
ok "secrets taken out there too" '! journalctl -u contentd -o cat | grep -q sk-0123'
ok "an outage opens the breaker at priority 3" 'records MESSAGE_ID=$(id_of "No new jobs go to generator @GENERATOR@") | some ".PRIORITY == \"3\" and .GENERATOR == \"talker\""'
ok "the log is private" '[ "$(stat -c %a:%U /var/lib/contentd/logs/$task.jsonl)" = 600:contentd ]'
ctl cancel "$failing" >/dev/null

h RUST_LOG
drop_in level 'Environment=RUST_LOG=warn'
systemctl restart contentd
cursor=$(journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p')
task=$(submit --topic "Quiet tea [sample:fail-once]")
contentctl wait "$task" --timeout 60 >/dev/null 2>&1
ok "warn keeps warnings" 'until_ "records --after-cursor=\"$cursor\" TASK_ID=$task | some true"'
ok "and silences information" 'records --after-cursor="$cursor" SYSLOG_IDENTIFIER=contentd | all "(.PRIORITY | tonumber) <= 4"'
drop_in level 'Environment=RUST_LOG=debug'
systemctl restart contentd
cursor=$(journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p')
contentctl resume >/dev/null 2>&1
task=$(submit --topic "loud tea [sample:noise]")
contentctl wait "$task" --timeout 60 >/dev/null 2>&1
ok "debug has what went well" 'until_ "records --after-cursor=\"$cursor\" TASK_ID=$task MESSAGE_ID=$wrote | some \".VERB == \\\"fetch\\\"\""'
ok "at priority 7" 'records --after-cursor="$cursor" TASK_ID=$task MESSAGE_ID=$wrote | all ".PRIORITY == \"7\""'
run=$(submit --topic "seconds:2 of talk" --generator slow)
ok "a run is read while it goes on" 'until_ "ctl log $run | jq -e \".[0].end == \\\"running\\\" and (.[0].text | contains(\\\"writing about\\\"))\" >/dev/null"'
ok "and followed to its end" '[ "$(ctl log --follow $run | jq -r .end | tail -1)" = "exit 0" ]'
ok "it stands in the journal once, when it has ended" '[ "$(records TASK_ID=$run MESSAGE_ID=$wrote | jq -r .VERB)" = run ]'
words=$(ctl result "$task" | field .content | tr '\n' ' ' | cut -c 200-260)
ok "and no piece, even so" '[ ${#words} -gt 30 ] && ! journalctl -u contentd -o cat --after-cursor="$cursor" | tr "\n" " " | grep -qF "$words"'

h "a full disk"
systemctl stop contentd
mount -t tmpfs -o size=32k,mode=700,uid=contentd,gid=contentd-run none /var/lib/contentd/logs
head -c 32k /dev/zero >/var/lib/contentd/logs/filler
drop_in level 'Environment=RUST_LOG=info'
systemctl start contentd
task=$(submit --topic "tea on a full disk [sample:noise]")
ok "costs no task" 'contentctl wait "$task" --timeout 60 >/dev/null 2>&1'
ok "is said once" '[ "$(records MESSAGE_ID=$(id_of "What a generator wrote could not be kept") | jq -r .PRIORITY)" = 4 ]'
ok "and a log without its entries is no fault to a reader" '[ "$(ctl log $task)" = "[]" ]'
rm /var/lib/contentd/logs/filler
task=$(submit --topic "tea with room again [sample:noise]")
contentctl wait "$task" --timeout 60 >/dev/null 2>&1
ok "with room again it is kept" '[ "$(ctl log $task | jq length)" -ge 3 ]'
systemctl stop contentd
umount /var/lib/contentd/logs

h "standard error that is no journal"
drop_in level 'StandardError=file:/var/lib/contentd/contentd.log'
systemctl restart contentd
task=$(submit --topic "filed tea")
contentctl wait "$task" --timeout 60 >/dev/null 2>&1
ok "the same lines go there as text" 'grep -Eq "^\[[^ ]+ INFO  contentd::actors\] task_id=$task attempt=1 .* → completed" /var/lib/contentd/contentd.log'
ok "without the fields a second time" '! grep -q MESSAGE_ID /var/lib/contentd/contentd.log'
ok "and not to the journal" '! records TASK_ID=$task | grep -q .'

finish
