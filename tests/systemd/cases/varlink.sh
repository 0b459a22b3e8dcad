# Varlink clients that are not ours: systemd's varlinkctl and the Python package `varlink` make every call that reads only, submit,
# and follow. The methods come from the introspection, so that a new one cannot be forgotten here.
#
# rig: -b $target/varlink-python:/usr/local/lib/varlink-python -f tests/systemd/varlink_client.py:/root/varlink_client.py
# rig: -f docs/reference/varlink.md:/root/varlink.md
. /root/lib.sh
export PYTHONDONTWRITEBYTECODE=1

python() { python3 -W ignore /root/varlink_client.py "$@"; }
# Both clients print a reply as one line of JSON, or the error's name and its parameters.
by_varlinkctl() { # METHOD PARAMETERS
  if varlinkctl call --json=short "$socket" "$1" "$2" >/tmp/reply 2>/tmp/error; then
    cat /tmp/reply
  else
    sed -n 's/^Method call .* failed: //p' /tmp/error
    if [ -s /tmp/reply ]; then cat /tmp/reply; else echo '{}'; fi
    return 3
  fi
}
by_python() { python call "$@"; }
# Replies to a call with `more`, a line each. varlinkctl puts a record separator before each.
more_by_varlinkctl() { varlinkctl --more --json=short call "$socket" "$1" "$2" | sed -u 's/^\x1e//'; }
more_by_python() { python more "$@"; }

# What reads only: the method, its parameters, what must hold of the reply. $task, $content and $hash are filled in.
reads() {
  sed -e "s/\$task/$task/g" -e "s/\$content/$content/g" -e "s/\$hash/$hash/g" <<'TABLE'
org.varlink.service.GetInfo|{}|.product == "contentd" and (.interfaces | length == 7)
org.varlink.service.GetInterfaceDescription|{"interface": "io.contentd.Pool"}|.description | contains("interface io.contentd.Pool")
io.contentd.Daemon.Ping|{}|.pid > 0
io.contentd.Daemon.GetVersion|{}|.version | test("^[0-9]+[.][0-9]+")
io.contentd.Daemon.GetStatus|{}|.state == "running" and .generators[0].name == "sample" and .tasks.completed >= 1
io.contentd.Daemon.Workers|{}|.total == (.workers | length) and .total > 0
io.contentd.Daemon.GetConfig|{}|.files == ["/etc/contentd/contentd.toml"] and .config.daemon.workers == 4
io.contentd.Daemon.Doctor|{}|(.findings | length > 3) and (.findings | map(.severity) | contains(["error"]) | not)
io.contentd.Daemon.TryGenerator|{"generator": "sample"}|.findings | length > 3
io.contentd.Daemon.Metrics|{}|.text | contains("contentd_up 1")
io.contentd.Daemon.Health|{}|.checks | map(.name) | contains(["backlog", "breaker/sample"])
io.contentd.Daemon.Notices|{}|.notices == [] and .hooks == []
io.contentd.Accounts.List|{}|.accounts[0].name == "blog"
io.contentd.Accounts.Get|{"account": "blog"}|.account.account_id == 1
io.contentd.Content.Versions|{"content_id": $content}|.versions[0].version == 1
io.contentd.Content.Images|{"content_id": $content}|.images == []
io.contentd.Tasks.Status|{"task": "$task"}|.task.state == "completed"
io.contentd.Tasks.Show|{"task": "$task"}|.attempts[0].state == "ended_completed" and (.result | length > 0)
io.contentd.Tasks.History|{"task": "$task"}|.events | length > 2
io.contentd.Tasks.Log|{"task": "$task"}|.is_complete
io.contentd.Tasks.List|{"filter": {"states": ["finished"], "account": "blog"}, "limit": 5}|.tasks | map(.task_id) | contains(["$task"])
io.contentd.Tasks.Queue|{}|.size == 1 and .tasks[0].topic == "Later"
io.contentd.Tasks.Result|{"task": "$task"}|.content.content_id == $content and (.content.content | length > 0)
io.contentd.Tasks.Statistics|{}|.by_state.completed >= 1 and .words > 0
io.contentd.Tasks.Summary|{}|.finished.completed >= 1 and .created >= 1
io.contentd.Tasks.Report|{"key": "000102030405060708090a0b0c0d0e0f"}|. == {}
io.contentd.Tasks.Wait|{"tasks": ["$task"]}|.tasks[0].state == "completed"
io.contentd.Content.List|{"account": "blog"}|.contents | map(.content_id) | contains([$content])
io.contentd.Content.Get|{"content_id": $content}|.content.content_hash == "$hash"
io.contentd.Pool.List|{}|.entries[0].status == "pending"
io.contentd.Schedules.List|{}|.schedules[0].name == "daily"
io.contentd.Schedules.Get|{"schedule": "daily"}|.schedule.next | length == 5
io.contentd.Schedules.History|{"schedule": "daily"}|.fires == []
io.contentd.Pool.Show|{"pool_id": 1}|.entry.pool_id == 1 and (.handouts | length) == 0
TABLE
}

# What changes something. Watch reads only, and has a check of its own because it never ends.
changes='io.contentd.Tasks.Watch
io.contentd.Daemon.Notice io.contentd.Daemon.TestHook io.contentd.Daemon.Acknowledge io.contentd.Daemon.Silence
io.contentd.Daemon.Backup io.contentd.Daemon.Pause io.contentd.Daemon.Resume io.contentd.Daemon.Drain io.contentd.Daemon.Reload
io.contentd.Accounts.Add io.contentd.Accounts.Set io.contentd.Accounts.Import io.contentd.Content.Approve io.contentd.Content.Reject
io.contentd.Content.Edit io.contentd.Content.WriteAgain
io.contentd.Tasks.Submit io.contentd.Tasks.SubmitBatch io.contentd.Tasks.Stage io.contentd.Tasks.SubmitStaged
io.contentd.Pool.Next io.contentd.Pool.Done io.contentd.Pool.Fail io.contentd.Pool.Renew io.contentd.Pool.Schedule io.contentd.Pool.Remove
io.contentd.Tasks.Cancel io.contentd.Tasks.Release io.contentd.Pool.Release io.contentd.Tasks.Retry io.contentd.Tasks.Correct io.contentd.Tasks.Settle io.contentd.Tasks.Set
io.contentd.Tasks.Cleanup io.contentd.Tasks.Poll io.contentd.Tasks.PollAll
io.contentd.Schedules.Add io.contentd.Schedules.Run io.contentd.Schedules.Pause io.contentd.Schedules.Resume io.contentd.Schedules.Remove'

# Errors: the method, its parameters, the error, what must hold of its parameters.
errors() {
  sed -e "s/\$task/$task/g" -e "s/\$content/$content/g" <<'TABLE'
io.contentd.Tasks.Status|{"task": "task-000000000000"}|io.contentd.Tasks.TaskNotFound|.task == "task-000000000000"
io.contentd.Tasks.Submit|{"task": {"account": "nobody", "topic": "T"}}|io.contentd.Accounts.AccountNotFound|.account == "nobody"
io.contentd.Tasks.Submit|{"task": {"account": "blog", "topic": "T", "priority": 11}}|io.contentd.Tasks.InvalidField|.field == "priority"
io.contentd.Tasks.Submit|{"task": {"account": "blog", "topic": "T", "generator": "other"}}|io.contentd.Tasks.GeneratorNotFound|.known == ["sample"]
io.contentd.Tasks.Cancel|{"tasks": ["$task"]}|io.contentd.Tasks.WrongState|.state == "completed"
io.contentd.Tasks.Watch|{}|org.varlink.service.ExpectedMore|true
io.contentd.Accounts.Add|{"name": "blog"}|io.contentd.Accounts.AccountExists|.name == "blog"
io.contentd.Content.Get|{"content_id": 999}|io.contentd.Content.ContentNotFound|.content_id == 999
io.contentd.Content.Approve|{"content_id": $content, "content_hash": "0"}|io.contentd.Content.HashChanged|.expected == "0"
TABLE
}

h 'A machine with the daemon and the sample generator; the first call starts the daemon'
sample_configuration >/tmp/contentd.toml
install_files /tmp/contentd.toml
systemctl start contentd.socket
ok 'varlinkctl info' 'varlinkctl info "$socket" | grep -q "Product: contentd"'
ok 'the call started the daemon' is_active
contentctl account add --name blog >/dev/null
contentctl schedule add --name daily --cron '0 8 * * *' --zone UTC --account blog --topic Bread --paused >/dev/null
task=$(ctl submit --account blog --topic "Seen by other clients" | field .task_id)
ctl submit --account blog --topic "Later" --delay 1h >/dev/null
ok 'there is a piece to read' 'timeout 60 contentctl wait "$task" >/dev/null 2>&1'
content=$(ctl result "$task" | field .content_id)
hash=$(ctl content show "$content" | field .content_hash)

h 'Introspection'
varlinkctl list-interfaces "$socket" >/tmp/interfaces
ok 'varlinkctl list-interfaces' '[ "$(wc -l </tmp/interfaces)" = 7 ]'
while read -r interface; do
  varlinkctl introspect "$socket" "$interface" >/tmp/idl
  ok "varlinkctl introspect $interface" 'grep -q "^interface $interface$" /tmp/idl && varlinkctl validate-idl /tmp/idl >/dev/null'
done </tmp/interfaces
varlinkctl list-methods "$socket" | sort >/tmp/methods
ok 'the Python package reads the same methods' 'python methods | sort | diff - /tmp/methods'
ok "the Python package's own command" 'PYTHONPATH=/usr/local/lib/varlink-python python3 -W ignore -m varlink.cli info "unix:$socket" |
  grep -q "^Product: contentd"'
# Word splitting is meant.
# shellcheck disable=SC2086
{ reads | cut -d'|' -f1; printf '%s\n' $changes; } | sort >/tmp/known
ok 'every method stands in one table of this case, once' 'diff /tmp/known /tmp/methods'

h 'Every call that reads only'
while IFS='|' read -r method parameters condition; do
  for client in varlinkctl python; do
    "by_$client" "$method" "$parameters" >"/tmp/$client" 2>"/tmp/$client.err"
    ok "$client: $method" 'jq -e "$condition" "/tmp/$client" >/dev/null || { cat "/tmp/$client" "/tmp/$client.err"; false; }'
  done
  ok "what varlinkctl got fits the interface" 'python fits "$method" </tmp/varlinkctl'
done < <(reads)

h 'Errors have names'
while IFS='|' read -r method parameters error condition; do
  for client in varlinkctl python; do
    "by_$client" "$method" "$parameters" >"/tmp/$client" 2>/dev/null
    status=$?
    ok "$client: $method is answered $error" '[ $status = 3 ] && [ "$(head -n 1 /tmp/$client)" = "$error" ] &&
      tail -n +2 "/tmp/$client" | jq -e "$condition" >/dev/null || { cat "/tmp/$client"; false; }'
  done
done < <(errors)
by_varlinkctl io.contentd.Tasks.Status '{"task": "x", "colour": 1}' >/tmp/varlinkctl
ok 'an unknown parameter is named' 'grep -q "^org.varlink.service.InvalidParameter$" /tmp/varlinkctl && grep -q colour /tmp/varlinkctl'
by_varlinkctl io.contentd.Tasks.Nothing '{}' >/tmp/varlinkctl
ok 'an unknown method is named' 'grep -q "^org.varlink.service.MethodNotFound$" /tmp/varlinkctl'
by_varlinkctl io.contentd.Nothing.List '{}' >/tmp/varlinkctl
ok 'an unknown interface is named' 'grep -q "^org.varlink.service.InterfaceNotFound$" /tmp/varlinkctl'
ok 'varlinkctl can be told to expect an error' 'varlinkctl call --graceful=io.contentd.Tasks.TaskNotFound "$socket" \
  io.contentd.Tasks.Status "{\"task\": \"task-000000000000\"}" >/dev/null'

h 'Submit, and follow to the end'
for client in varlinkctl python; do
  "by_$client" io.contentd.Accounts.Add "{\"name\": \"$client\"}" >/tmp/reply
  ok "$client: an account" '[ "$(field .account.name </tmp/reply)" = "$client" ]'
  # Watch never ends: it is followed by a process of its own and ended by its number.
  "more_by_$client" io.contentd.Tasks.Watch "{\"account\": \"$client\"}" >/tmp/watched 2>/dev/null &
  watcher=$!
  submission="{\"task\": {\"account\": \"$client\", \"topic\": \"From $client\", \"keywords\": [\"a\", \"b\"], \"key\": \"$client-1\"}}"
  # A watch tells what happens from its beginning on, so the submit waits for the first sign of it: a task that comes by.
  until_ '"by_$client" io.contentd.Tasks.Submit "${submission/-1/-$RANDOM}" >/dev/null; [ -s /tmp/watched ]'
  "by_$client" io.contentd.Tasks.Submit "$submission" >/tmp/reply
  new=$(field .task_id </tmp/reply)
  ok "$client: submit" '[ "$(field .was_known </tmp/reply)" = false ] && [[ $new == task-* ]]'
  ok "$client: the same key is the same task" '"by_$client" io.contentd.Tasks.Submit "$submission" |
    jq -e ".was_known and .task_id == \"$new\"" >/dev/null'
  "more_by_$client" io.contentd.Tasks.Wait "{\"tasks\": [\"$new\"]}" >/tmp/waited
  ok "$client: Wait with more tells each change, then the end" '
    jq -se "length > 1 and (.[-1].tasks[0] | .task_id == \"$new\" and .state == \"completed\") and
      (.[:-1] | all(.changed.task_id == \"$new\")) and .[-1].changed == null" /tmp/waited >/dev/null || { cat /tmp/waited; false; }'
  has_ended() { jq -se "any(.task.task_id == \"$new\" and .task.state == \"completed\")" /tmp/watched >/dev/null 2>&1; }
  ok "$client: Watch told the same" 'until_ has_ended || { cat /tmp/watched; false; }'
  pkill -P "$watcher"
  kill "$watcher" 2>/dev/null
  wait "$watcher" 2>/dev/null
  ok "$client: the keywords came through" 'ctl status "$new" | jq -e ".keywords == [\"a\", \"b\"]" >/dev/null'
done
ok 'replies to Wait fit the interface' 'more_by_varlinkctl io.contentd.Tasks.Wait "{\"tasks\": [\"$new\"]}" |
  python fits io.contentd.Tasks.Wait'

h 'The examples of docs/reference/varlink.md'
examples() { awk -v fence="\`\`\`$1" '$0 == fence { inside = 1; next } /^```$/ { inside = 0 } inside' /root/varlink.md; } # LANGUAGE
examples sh >/tmp/examples.sh
examples python >/tmp/example.py
number=0
while read -r line; do
  number=$((number + 1))
  # A watch never ends by itself: it is let go after its first seconds, which is status 124.
  timeout 3 bash -c "$line" >/tmp/said 2>&1 </dev/null
  status=$?
  ok "line $number: ${line:0:60}" 'case $line in *Watch*) [ $status = 124 ] ;; *) [ $status = 0 ] && [ -s /tmp/said ] ;; esac ||
    { cat /tmp/said; false; }'
done </tmp/examples.sh
ok 'there are such lines' '[ $number = 3 ]'
ok 'the Python program follows its task to the end' 'PYTHONPATH=/usr/local/lib/varlink-python timeout 60 python3 -W ignore /tmp/example.py |
  tail -n 1 | grep -q completed'

h 'A call that wants no reply gets none'
ok 'varlinkctl --oneway' 'varlinkctl --oneway call "$socket" io.contentd.Daemon.Ping "{}"'
ok 'the Python package: the next reply is the next call'"'"'s' 'python oneway io.contentd.Daemon.Pause "{\"generator\": \"sample\"}" |
  jq -e ".pid > 0" >/dev/null && ctl status | jq -e ".pauses | length == 1" >/dev/null'

finish
