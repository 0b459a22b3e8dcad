# A whole day that runs by itself, in about ten minutes: at "eight" a schedule puts three topics in for each of three
# accounts, the sample generator writes them, rules and a person review them, at "nine" a publisher command puts them out, and a
# hook is told of an outage. An hour of the day is five minutes, and the daemon is killed at each of its turns.
# rig: -t 900
. /root/lib.sh

site=/var/lib/contentd/publishers/site/out
pages=/var/lib/contentd/pages
jobs=/var/lib/contentd/generators/sample/sample-data
db() { sqlite3 -readonly /var/lib/contentd/contentd.db "$1"; }
count() { db "select count(*) from $1"; }
# Kills the daemon without a word; systemd starts it again.
kill_it() {
  local before
  before=$(p MainPID)
  kill -9 "$before"
  until_ '[ "$(p MainPID)" != '"$before"' ] && is_active && ctl ping >/dev/null 2>&1' 60
}
at() { until_ "[ \$(date +%s) -ge $1 ]" 600; }

h "the evening before"
# Eight is the first full minute that is at least 40 seconds away, nine five minutes later.
eight=$(((($(date +%s) + 40) / 60 + 1) * 60))
nine=$((eight + 300))
minute() { date -u -d "@$1" +'%-M %-H * * *'; }

# Puts a piece out: the same key does it once, and a piece that came under two keys would stand there twice.
cat >/usr/local/bin/post-to-site <<'SH'
#!/bin/sh
key=$1 content=$2
mkdir -p out
cat >"out/.$key"
if mkdir "out/$content.$key" 2>/dev/null; then
  date +%s >"out/$content.$key/at"
  mv "out/.$key" "out/$content.$key/piece"
fi
sleep 1
echo "{\"url\": \"https://example.org/$content\"}"
SH
# A page for each message, so that one that comes twice is one.
cat >/usr/local/bin/page-somebody <<'SH'
#!/bin/sh
mkdir -p /var/lib/contentd/pages
message=$(cat)
printf '%s\n' "$message" >"/var/lib/contentd/pages/$(printf '%s' "$message" | jq -r .id)"
SH
cat >/usr/local/bin/news <<'SH'
#!/bin/sh
echo "News for $CONTENTD_FIRE"
SH
chmod 755 /usr/local/bin/post-to-site /usr/local/bin/page-somebody /usr/local/bin/news
cat >/root/contentd.toml <<TOML
[tasks]
generator = "sample"
retry = { initial = "2s", factor = 2.0, max = "10s", jitter = 0.2 }
[polling]
interval = "2s"
[review]
min_words = 10
forbidden_words = ["casino"]
[publishing]
at = "$(minute $nine)"
zone = "UTC"
[publishers.site]
idempotent = true
interval = "2s"
[publishers.site.publish]
run = ["/usr/local/bin/post-to-site", "{key}", "{content_id}"]
stdin = "{content}"
url = "json:/url"
[topic_sources.news]
run = ["/usr/local/bin/news"]
idempotent = true
[notices]
interval = "2s"
cool_down = "5s"
[notices.breaker]
for = "5s"
[hooks.pager]
run = ["/usr/local/bin/page-somebody"]
TOML
sed 's|{creator}|/usr/bin/sample-generator|; s|SAMPLE_SECONDS = "2"|SAMPLE_SECONDS = "10"|' /root/sample.toml >>/root/contentd.toml
install_files /root/contentd.toml
systemctl start contentd.socket contentd-run.socket
for account in garden kitchen press; do contentctl account add --name $account >/dev/null; done
contentctl account set press --no-auto-approve >/dev/null
contentctl account add --name wire >/dev/null
cat >/root/topics.txt <<'TXT'
Roses in autumn
Bread without yeast [sample:fail-once]
The new tram
A night at the casino
Soup for eight [sample:status:bad-json=2]
The old bridge
Hedgehogs [sample:seconds=20]
Quinces [sample:hang-before-accept=1]
The library on Sundays
TXT
ok "the topics of the morning are in a schedule" "contentctl schedule add --name mornings --cron '$(minute $eight)' --zone UTC \
  --account garden,kitchen,press --topics 3 --list /root/topics.txt --at-end again >/dev/null"
ok "its next fire is at eight" "[ \$(date -d \$(ctl schedule show mornings | field .next_due_at) +%s) = $eight ]"
ok "the configuration is told as it is" "ctl config | jq -e '.publishing.zone == \"UTC\"' >/dev/null"
ok "all is well" 'contentctl health >/dev/null'

h "eight"
at $eight
kill_it
ok "there are nine tasks" 'until_ "[ \$(count tasks) = 9 ]" 30'
ok "each topic has one" '[ "$(count "(select distinct topic from tasks)")" = 9 ]'
ok "three for each account" '[ "$(db "select group_concat(n) from (select count(*) n from tasks group by account_id)")" = 3,3,3 ]'
ok "there was one fire" '[ "$(count schedule_fires)" = 1 ]'

h "five past eight"
ok "nine pieces came" 'until_ "[ \$(count contents) = 9 ]" 120'
ok "and every task is completed" '[ "$(count "tasks where state = '"'completed'"'")" = 9 ]'
waiting() { ctl review list | jq -r ".[] | select(.account_id == $1) | .content_id"; }
account_id() { db "select id from accounts where name = '$1'"; }
press=$(account_id press) garden=$(account_id garden)
ok "the rules stopped one piece and people look at three" '[ "$(waiting $garden | wc -l)" = 1 ] && [ "$(waiting $press | wc -l)" = 3 ]'
set -- $(waiting "$press") missing missing missing
ok "a person reads one and approves just that text" \
  "contentctl review approve $1 --hash \$(ctl content show $1 | field .content_hash) >/dev/null"
printf '# The old bridge\n\nIt is closed, and nobody knows for how long; the ferry goes every half hour until it is mended.\n' >/root/edited
edited=$(ctl review edit "$2" --file /root/edited | field .content_id)
ok "rewrites the second" "[ $edited -gt 9 ]"
ok "and approves what it is now" "contentctl review approve $edited >/dev/null"
ok "and sends the third back with a remark" "contentctl review reject $3 --again 'name the opening hours' >/dev/null"
casino=$(waiting "$garden")
ok "the one that the rules stopped is not wanted" "contentctl review reject $casino --reason 'not our subject' >/dev/null"
ok "the third comes again" 'until_ "[ \$(count contents) = 11 ]" 60'
again=$(waiting "$press")
ok "and is approved" "contentctl review approve $again >/dev/null"
ok "eight pieces wait for nine" '[ "$(count "publish_pool where status = '"'pending'"'")" = 8 ]'
ok "all of them are due then" "[ \$(db 'select count(*) from publish_pool where status = \"pending\" and scheduled_at = $nine * 1000') = 8 ]"
ok "nothing is out" '[ ! -e $site ]'

h "nine"
at $nine
ok "publishing begins" 'until_ "ls $site >/dev/null 2>&1" 30'
kill_it
ok "all eight are out" 'until_ "[ \$(count \"publish_pool where status = '"'published'"'\") = 8 ]" 90'
ok "each once" '[ "$(ls $site | sed "s/\..*//" | sort | uniq -d | wc -l)" = 0 ] && [ "$(ls $site | wc -l)" = 8 ]'
ok "none before its time" "[ \$(cat $site/*/at | sort -n | head -n 1) -ge $nine ]"
ok "the one that was edited went out as it was edited" "cmp -s $site/$edited.*/piece /root/edited"
ok "the record says where" "[ \$(ctl pool show \$(db \"select id from publish_pool where content_id = $edited\") | field .publication.url) = https://example.org/$edited ]"
ok "nobody was paged so far" '[ ! -e $pages ]'

h "the wire begins, and then an outage"
contentctl schedule add --name wire --every 30s --account wire --topics 1 --command news >/dev/null
ok "the wire brings pieces" 'until_ "[ \$(count contents) = 12 ]" 90'
echo 'create:unavailable=1000000' >"$jobs/faults"
breaker() { ctl status | field '.generators[0].breaker'; }
ok "the generator is away" 'until_ "[ \$(breaker) = unavailable ]" 90'
paged() { cat $pages/* 2>/dev/null | jq -es "any(.[]; .rule == \"breaker\" and .kind == \"$1\")" >/dev/null; }
ok "somebody is paged" 'until_ "paged firing" 60'
ok "health says so" 'contentctl health >/root/health; [ $? = 2 ] || { cat /root/health; false; }'
kill_it
ok "topics go on coming in" "until_ '[ \$(count \"tasks where state = '\"'pending'\"'\") -ge 3 ]' 120"
rm "$jobs/faults"
ok "it is back" 'until_ "[ \$(breaker) = closed ]" 180'
ok "and that is told too" 'until_ "paged resolved" 60'

h "the evening"
contentctl schedule pause wire --reason "the day is over" >/dev/null
ok "every task came to its end" 'until_ "[ \$(count \"tasks where state <> '"'completed'"'\") = 0 ]" 120'
ok "the outage cost no retry" '[ "$(count "tasks where retry_count > 0 and topic not like '"'%sample:%'"'")" = 0 ]'
fires=$(count "schedule_fires where state = 'fired'")
ok "each fire of the wire has one task" "[ \$(count 'tasks where account_id = $(account_id wire)') = $((fires - 1)) ]"
ok "its pieces wait for the next nine" '[ "$(count "publish_pool where status = '"'pending'"'")" = "$((fires - 1))" ] && [ "$(ls $site | wc -l)" = 8 ]'
ok "the mornings had their one fire" '[ "$(ctl schedule history mornings | jq length)" = 1 ]'
# One topic fails once on purpose, and is paid a second time.
ok "each piece was paid for once" '[ "$(wc -l <$jobs/paid.log)" = $(($(count tasks) + 1)) ]'
ok "all is well again" 'until_ "contentctl health >/dev/null" 60'
contentctl stats --since 1d --by day
contentctl health
ok "the day is told in numbers" 'contentctl stats --since 1d --by day >/dev/null && contentctl metrics | grep -q "^contentd_pool_entries{state=\"pending\"} "'
systemctl stop contentd.socket contentd
ok "the database keeps every promise" 'DATABASE_URL=/var/lib/contentd/contentd.db setpriv --reuid contentd --regid contentd-run --clear-groups contentd --check-database >/root/check 2>&1 || { cat /root/check; false; }'
ok "no actor panicked" '! journalctl -u contentd -o cat | grep -q panicked'
finish
